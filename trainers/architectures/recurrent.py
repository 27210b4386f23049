"""Recurrent networks for token sequences."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from trainers.architectures import Network, register
from trainers.architectures._sequences import last_real, real_positions
from trainers.errors import UserError
from trainers.tasks import InputSpec, OutputSpec

Init = Literal["default", "orthogonal"]
Cell = type[nn.RNN] | type[nn.LSTM] | type[nn.GRU]


class Recurrent(Network):
    """Embedding, single-layer recurrent networks in a row, linear; a tap after each layer.

    Tasks of whole sequences are answered from the state at the last real token: padding comes after
    it, and so has no effect.
    """

    def __init__(
        self,
        input: InputSpec,
        output: OutputSpec,
        cell: Cell,
        depth: int,
        width: int,
        embedding: int,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        assert input.vocabulary is not None
        self._input, self._per_position = input, output.per_position
        self.embedding = nn.Embedding(input.vocabulary, embedding)
        self.layers = nn.ModuleDict(
            {
                f"layer{index + 1}": cell(
                    embedding if index == 0 else width, width, batch_first=True
                )
                for index in range(depth)
            }
        )
        self.activation = activation or nn.Identity()
        self.output = nn.Linear(width, output.num_outputs)
        self.taps = tuple(f"layers.{name}" for name in self.layers)

    def forward(self, tokens: Tensor) -> Tensor:
        """Answers (batch, num_outputs), or (batch, time, num_outputs), of tokens (batch, time)."""
        features = self.embedding(tokens)
        for layer in self.layers.values():
            features, _ = layer(features)
        if not self._per_position:
            features = last_real(features, real_positions(tokens, self._input))
        answers: Tensor = self.output(self.activation(features))
        return answers


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

    `init`: PyTorch's default (uniform within 1 / sqrt(width)) or orthogonal recurrent weights. The
    paper's language model has depth 4, width 512 and embedding 256.
    """
    _check_sizes("rnn", depth, width, embedding)
    return _initialised(Recurrent(input, output, nn.RNN, depth, width, embedding), init)


@register("lstm", inputs=("tokens",))
def lstm(
    input: InputSpec,
    output: OutputSpec,
    *,
    depth: int = 2,
    width: int = 64,
    embedding: int = 64,
    init: Init = "default",
) -> Recurrent:
    """LSTM: as `rnn`, but with gates and a cell state; `orthogonal` initialises each gate."""
    _check_sizes("lstm", depth, width, embedding)
    return _initialised(Recurrent(input, output, nn.LSTM, depth, width, embedding), init)


@register("gru", inputs=("tokens",))
def gru(
    input: InputSpec,
    output: OutputSpec,
    *,
    depth: int = 2,
    width: int = 64,
    embedding: int = 64,
    init: Init = "default",
) -> Recurrent:
    """GRU: as `rnn`, but with gates; `orthogonal` initialises each gate."""
    _check_sizes("gru", depth, width, embedding)
    return _initialised(Recurrent(input, output, nn.GRU, depth, width, embedding), init)


@register("parity_rnn", inputs=("tokens",))
def parity_rnn(
    input: InputSpec,
    output: OutputSpec,
    *,
    depth: int = 2,
    width: int = 64,
    embedding: int = 64,
    init: Init = "default",
) -> Recurrent:
    """`rnn` with a ReLU before the output layer: the paper's guide on parity."""
    _check_sizes("parity_rnn", depth, width, embedding)
    network = Recurrent(input, output, nn.RNN, depth, width, embedding, nn.ReLU())
    return _initialised(network, init)


def _check_sizes(name: str, depth: int, width: int, embedding: int) -> None:
    if min(depth, width, embedding) < 1:
        raise UserError(
            f"architecture {name}: depth {depth}, width {width}, embedding {embedding}; "
            "allowed: 1 or more"
        )


def _initialised(network: Recurrent, init: Init) -> Recurrent:
    if init == "orthogonal":
        for name, parameter in network.layers.named_parameters():
            if "weight_hh" in name:
                for gate in torch.split(parameter.detach(), parameter.shape[1]):
                    nn.init.orthogonal_(gate)
    return network
