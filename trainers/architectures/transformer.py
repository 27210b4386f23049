"""Causal Transformers for token sequences."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.architectures import Network, register
from trainers.architectures._attention import Sizes
from trainers.architectures._sequences import last_real, real_positions, sinusoids
from trainers.tasks import InputSpec, OutputSpec

Init = Literal["default", "gpt"]
Positions = Literal["learned", "sinusoidal"]

GPT_STD = 0.02


class Block(nn.Module):
    """Pre-norm causal self-attention and feed-forward with residuals (GELU)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.width
        self.heads, self.attention_dropout = sizes.heads, sizes.dropout
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, sizes.feed_forward), nn.GELU(),
            nn.Linear(sizes.feed_forward, width),
        )  # fmt: skip
        self.dropout = sizes.dropout_layer()

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, time, width) to the same shape."""
        batch, time, width = features.shape
        heads = self.query_key_value(self.attention_norm(features))
        query, key, value = heads.view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        dropout = self.attention_dropout if self.training else 0.0
        attended = functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, dropout_p=dropout
        )
        merged = attended.transpose(1, 2).reshape(batch, time, width)
        features = features + self.dropout(self.projection(merged))
        output: Tensor = features + self.dropout(self.feed_forward(features))
        return output


class CausalTransformer(Network):
    """Token and position embeddings, pre-norm blocks, norm, linear; a tap per block.

    Tasks of whole sequences are answered from the last real token, which attends to all before it.
    """

    sinusoids: Tensor

    def __init__(
        self, input: InputSpec, output: OutputSpec, sizes: Sizes, positions: Positions
    ) -> None:
        super().__init__()
        assert input.vocabulary is not None
        self._input, self._per_position = input, output.per_position
        self.embedding = nn.Embedding(input.vocabulary, sizes.width)
        self.position = None
        if positions == "learned":
            self.position = nn.Embedding(input.shape[0], sizes.width)
        else:
            table = sinusoids(input.shape[0], sizes.width)
            self.register_buffer("sinusoids", table, persistent=False)
        self.dropout = sizes.dropout_layer()
        self.blocks = nn.ModuleDict(
            {f"block{index + 1}": Block(sizes) for index in range(sizes.depth)}
        )
        self.norm = nn.LayerNorm(sizes.width)
        self.output = nn.Linear(sizes.width, output.num_outputs)
        self.taps = tuple(f"blocks.{name}" for name in self.blocks)

    def forward(self, tokens: Tensor) -> Tensor:
        """Answers (batch, num_outputs), or (batch, time, num_outputs), of tokens (batch, time)."""
        features = self.dropout(self.embedding(tokens) + self._positions(tokens))
        for block in self.blocks.values():
            features = block(features)
        if not self._per_position:
            features = last_real(features, real_positions(tokens, self._input))
        answers: Tensor = self.output(self.norm(features))
        return answers

    def _positions(self, tokens: Tensor) -> Tensor:
        if self.position is None:
            return self.sinusoids[: tokens.shape[1]]
        positions: Tensor = self.position(torch.arange(tokens.shape[1], device=tokens.device))
        return positions


@register("transformer", inputs=("tokens",), later=("dropout", "init", "positions"))
def transformer(
    input: InputSpec,
    output: OutputSpec,
    *,
    depth: int = 2,
    width: int = 48,
    heads: int = 4,
    feed_forward: int = 192,
    dropout: float = 0.0,
    init: Init = "default",
    positions: Positions = "learned",
) -> CausalTransformer:
    """Causal pre-norm Transformer; embeddings drawn from N(0, 1), positions learned or sinusoidal.

    `init: gpt`: weights drawn with standard deviation .02, biases zero (Radford et al. 2018).
    `dropout` is that of embeddings, attention weights and residual branches. The paper's language
    model has depth 4, width 512, 16 heads, feed_forward 2048, dropout .1 and init gpt; its code has
    ReLU instead of GELU, and no norm before the output layer.
    """
    sizes = Sizes(depth=depth, width=width, heads=heads, feed_forward=feed_forward, dropout=dropout)
    sizes.check("transformer")
    network = CausalTransformer(input, output, sizes, positions)
    if init == "gpt":
        for module in network.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=GPT_STD)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
    return network
