"""Fully connected networks.

`deep_fcn` and `wide_fcn` are the paper's networks with its taps: outputs of the hidden linear
layers, before batch norm and ReLU. `fcn` has its taps after ReLU.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from trainers.architectures import Network, register
from trainers.errors import UserError
from trainers.tasks import InputSpec, OutputSpec

Norm = Literal["none", "batch", "layer"]
Init = Literal["default", "he", "orthogonal"]

NORMS: dict[Norm, type[nn.Module]] = {
    "none": nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm
}  # fmt: skip


class FullyConnected(Network):
    """`depth` hidden layers (linear, norm, ReLU, dropout); a tap after each ReLU."""

    def __init__(
        self, num_inputs: int, num_outputs: int, depth: int, width: int, norm: Norm, dropout: float
    ) -> None:
        super().__init__()
        self.hidden = nn.ModuleDict()
        for index in range(depth):
            linear = nn.Linear(num_inputs if index == 0 else width, width)
            layer = [linear, NORMS[norm](width), nn.ReLU()]
            self.hidden[f"layer{index + 1}"] = nn.Sequential(*layer)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, num_outputs)
        self.taps = tuple(f"hidden.{name}" for name in self.hidden)

    def forward(self, inputs: Tensor) -> Tensor:
        """Answers (batch, num_outputs) of inputs (batch, *shape)."""
        features = inputs.flatten(1)
        for layer in self.hidden.values():
            features = self.dropout(layer(features))
        answers: Tensor = self.output(features)
        return answers


@register("fcn", inputs=("image", "signal"))
def fcn(
    input: InputSpec,
    output: OutputSpec,
    *,
    depth: int = 4,
    width: int = 256,
    norm: Norm = "none",
    dropout: float = 0.0,
    init: Init = "default",
) -> FullyConnected:
    """Fully connected network: `depth` hidden layers of `width` units.

    `init`: PyTorch's default, He (normal, fan-in, gain of ReLU) or orthogonal (gain of ReLU)
    weights with zero biases in the hidden layers.
    """
    if depth < 1 or width < 1 or not 0 <= dropout < 1:
        raise UserError(
            f"architecture fcn: depth {depth}, width {width}, dropout {dropout}; allowed: "
            "depth and width of 1 or more, dropout from 0 to below 1"
        )
    network = FullyConnected(
        math.prod(input.shape), output.num_outputs, depth, width, norm, dropout
    )
    _initialise_hidden(network.hidden, init)
    return network


class PaperFCN(Network):
    """Layers of the given widths (linear, norm, ReLU, dropout); a tap at each linear's output."""

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        widths: tuple[int, ...],
        norm: Norm,
        dropout: float,
        init: Init,
    ) -> None:
        super().__init__()
        self.hidden = nn.Sequential()
        for index, (before, after) in enumerate(pairwise((num_inputs, *widths))):
            layer = OrderedDict(
                linear=nn.Linear(before, after),
                norm=NORMS[norm](after),
                relu=nn.ReLU(),
                dropout=nn.Dropout(dropout),
            )
            self.hidden.add_module(f"layer{index + 1}", nn.Sequential(layer))
        self.output = nn.Linear(widths[-1], num_outputs)
        self.taps = tuple(f"hidden.layer{index + 1}.linear" for index in range(len(widths)))
        _initialise_hidden(self.hidden, init)

    def forward(self, inputs: Tensor) -> Tensor:
        """Answers (batch, num_outputs) of inputs (batch, *shape)."""
        answers: Tensor = self.output(self.hidden(inputs.flatten(1)))
        return answers


@register("deep_fcn", inputs=("image", "signal"))
def deep_fcn(
    input: InputSpec,
    output: OutputSpec,
    *,
    depth: int = 48,
    first_width: int = 2048,
    width: int = 1024,
    norm: Norm = "batch",
    dropout: float = 0.1,
    init: Init = "default",
) -> PaperFCN:
    """The paper's deep FCN: a layer of `first_width` units, then `depth` - 1 of `width` units.

    `init` as in `fcn`.
    """
    if min(depth, first_width, width) < 1 or not 0 <= dropout < 1:
        raise UserError(
            f"architecture deep_fcn: depth {depth}, first_width {first_width}, width {width}, "
            f"dropout {dropout}; allowed: sizes of 1 or more, dropout from 0 to below 1"
        )
    widths = (first_width, *[width] * (depth - 1))
    return PaperFCN(math.prod(input.shape), output.num_outputs, widths, norm, dropout, init)


@register("wide_fcn", inputs=("image", "signal"))
def wide_fcn(
    input: InputSpec,
    output: OutputSpec,
    *,
    depth: int = 3,
    width: int = 8192,
    norm: Norm = "batch",
    dropout: float = 0.0,
    init: Init = "default",
) -> PaperFCN:
    """The paper's wide FCN: `depth` hidden layers of `width` units; `init` as in `fcn`."""
    if min(depth, width) < 1 or not 0 <= dropout < 1:
        raise UserError(
            f"architecture wide_fcn: depth {depth}, width {width}, dropout {dropout}; allowed: "
            "depth and width of 1 or more, dropout from 0 to below 1"
        )
    widths = (width,) * depth
    return PaperFCN(math.prod(input.shape), output.num_outputs, widths, norm, dropout, init)


def _initialise_hidden(hidden: nn.Module, init: Init) -> None:
    if init != "default":
        for module in hidden.modules():
            if isinstance(module, nn.Linear):
                _initialise(module, init)


def _initialise(linear: nn.Linear, init: Literal["he", "orthogonal"]) -> None:
    if init == "he":
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
    else:
        nn.init.orthogonal_(linear.weight, gain=math.sqrt(2.0))
    nn.init.zeros_(linear.bias)
