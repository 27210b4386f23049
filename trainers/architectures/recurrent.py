"""Recurrent networks for token sequences."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from trainers.architectures import Network, register
from trainers.tasks import InputSpec, OutputSpec

Init = Literal["default", "orthogonal"]


class Recurrent(Network):
    """Embedding, single-layer tanh RNNs in a row, linear at every position; a tap per RNN."""

    def __init__(
        self, vocabulary: int, num_classes: int, depth: int, width: int, embedding: int
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.layers = nn.ModuleDict(
            {
                f"layer{index + 1}": nn.RNN(
                    embedding if index == 0 else width, width, batch_first=True
                )
                for index in range(depth)
            }
        )
        self.output = nn.Linear(width, num_classes)
        self.taps = tuple(f"layers.{name}" for name in self.layers)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, time, num_classes) of tokens (batch, time)."""
        features = self.embedding(tokens)
        for layer in self.layers.values():
            features, _ = layer(features)
        logits: Tensor = self.output(features)
        return logits


@register("rnn", inputs=("tokens",))
def rnn(
    input: InputSpec,
    output: OutputSpec,
    *,
    depth: int = 2,
    width: int = 64,
    embedding: int = 64,
    init: Init = "default",
) -> Recurrent:
    """Vanilla tanh RNN: `depth` layers of `width` units on an embedding drawn from N(0, 1).

    `init`: PyTorch's default (uniform within 1 / sqrt(width)) or orthogonal recurrent weights.
    """
    if min(depth, width, embedding) < 1:
        raise ValueError(
            f"architecture rnn: depth {depth}, width {width}, embedding {embedding}; "
            "allowed: 1 or more"
        )
    assert input.vocabulary is not None
    network = Recurrent(input.vocabulary, output.num_classes, depth, width, embedding)
    if init == "orthogonal":
        for name, parameter in network.layers.named_parameters():
            if "weight_hh" in name:
                nn.init.orthogonal_(parameter)
    return network
