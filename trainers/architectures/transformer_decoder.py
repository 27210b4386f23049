"""Decoder layers that attend to their own sequence: the paper's copy-paste Transformer."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from trainers.architectures import Network, register
from trainers.architectures._attention import DecoderLayer, Sizes, visible
from trainers.architectures._sequences import last_real, real_positions, sinusoids
from trainers.errors import UserError
from trainers.tasks import InputSpec, OutputSpec

CrossAttention = Literal["causal", "all"]


class Decoder(Network):
    """Embedding plus sinusoidal positions, decoder layers, linear; a tap after each layer.

    Each layer attends twice to the sequence that enters it: causally, and as its own memory. Tasks
    of whole sequences are answered from the last real token.
    """

    positions: Tensor

    def __init__(
        self,
        input: InputSpec,
        output: OutputSpec,
        sizes: Sizes,
        cross: CrossAttention,
        *,
        shared: bool,
    ) -> None:
        super().__init__()
        assert input.vocabulary is not None
        self._input, self._per_position = input, output.per_position
        self._cross, self._scale = cross, math.sqrt(sizes.width)
        self.embedding = nn.Embedding(input.vocabulary, sizes.width)
        self.register_buffer("positions", sinusoids(input.shape[0], sizes.width), persistent=False)
        self.dropout = sizes.dropout_layer()
        self.layers = nn.ModuleList(
            [DecoderLayer(sizes) for _ in range(1 if shared else sizes.depth)]
        )
        # Identities give each pass through a shared layer a tap of its own.
        names = [f"layer{index + 1}" for index in range(sizes.depth)]
        self.outputs = nn.ModuleDict({name: nn.Identity() for name in names})
        self.output = nn.Linear(sizes.width, output.num_outputs)
        self.taps = tuple(f"outputs.{name}" for name in names)

    def forward(self, tokens: Tensor) -> Tensor:
        """Answers (batch, num_outputs), or (batch, time, num_outputs), of tokens (batch, time)."""
        real = real_positions(tokens, self._input)
        causal = visible(tokens, real, causal=True)
        memory = causal if self._cross == "causal" else visible(tokens, real, causal=False)
        features = self.embedding(tokens) * self._scale + self.positions[: tokens.shape[1]]
        features = self.dropout(features)
        for index, tap in enumerate(self.outputs.values()):
            layer = self.layers[index % len(self.layers)]
            features = tap(layer(features, features, causal, memory))
        if not self._per_position:
            features = last_real(features, real)
        answers: Tensor = self.output(features)
        return answers


@register("transformer_decoder", inputs=("tokens",))
def transformer_decoder(
    input: InputSpec,
    output: OutputSpec,
    *,
    depth: int = 4,
    width: int = 64,
    heads: int = 4,
    feed_forward: int = 256,
    dropout: float = 0.0,
    cross: CrossAttention = "causal",
    shared: bool = False,
) -> Decoder:
    """Decoder layers with self-attention and cross-attention on the sequence itself, post-norm.

    The paper's network on copy-paste has width 512, 16 heads, feed_forward 2048, dropout .1. In its
    code cross-attention also sees later positions (`cross: all`; not for next-token tasks, where
    they hold the answer), and all layers share one set of weights by mistake (`shared`).
    """
    sizes = Sizes(depth=depth, width=width, heads=heads, feed_forward=feed_forward, dropout=dropout)
    sizes.check("transformer_decoder")
    if shared not in (True, False):
        raise UserError(
            f"architecture transformer_decoder: shared is {shared}; allowed: true, false"
        )
    return Decoder(input, output, sizes, cross, shared=shared)
