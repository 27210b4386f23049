"""Causal Transformers for token sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.architectures import Network, register
from trainers.architectures._sequences import last_real, real_positions
from trainers.tasks import InputSpec, OutputSpec


class Block(nn.Module):
    """Pre-norm causal self-attention and feed-forward with residuals (GELU)."""

    def __init__(self, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, feed_forward), nn.GELU(),
            nn.Linear(feed_forward, width),
        )  # fmt: skip

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, time, width) to the same shape."""
        batch, time, width = features.shape
        heads = self.query_key_value(self.attention_norm(features))
        query, key, value = heads.view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        merged = attended.transpose(1, 2).reshape(batch, time, width)
        features = features + self.projection(merged)
        output: Tensor = features + self.feed_forward(features)
        return output


class CausalTransformer(Network):
    """Token and learned position embeddings, pre-norm blocks, norm, linear; a tap per block.

    A task of whole sequences is answered from the last real token, which sees all before it.
    """

    def __init__(
        self, input: InputSpec, output: OutputSpec, depth: int, width: int, heads: int, ff: int
    ) -> None:
        super().__init__()
        assert input.vocabulary is not None
        self._input, self._per_position = input, output.per_position
        self.embedding = nn.Embedding(input.vocabulary, width)
        self.position = nn.Embedding(input.shape[0], width)
        self.blocks = nn.ModuleDict(
            {f"block{index + 1}": Block(width, heads, ff) for index in range(depth)}
        )
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, output.num_classes)
        self.taps = tuple(f"blocks.{name}" for name in self.blocks)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, num_classes), or (batch, time, num_classes), of tokens (batch, time)."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        features = self.embedding(tokens) + self.position(positions)
        for block in self.blocks.values():
            features = block(features)
        if not self._per_position:
            features = last_real(features, real_positions(tokens, self._input))
        logits: Tensor = self.output(self.norm(features))
        return logits


@register("transformer", inputs=("tokens",))
def transformer(
    input: InputSpec,
    output: OutputSpec,
    *,
    depth: int = 2,
    width: int = 48,
    heads: int = 4,
    feed_forward: int = 192,
) -> CausalTransformer:
    """Causal pre-norm Transformer with learned positions; embeddings drawn from N(0, 1)."""
    if min(depth, width, heads, feed_forward) < 1 or width % heads:
        raise ValueError(
            f"architecture transformer: depth {depth}, width {width}, heads {heads}, feed_forward "
            f"{feed_forward}; allowed: 1 or more each, width a multiple of heads"
        )
    return CausalTransformer(input, output, depth, width, heads, feed_forward)
