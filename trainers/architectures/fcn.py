"""Fully connected networks."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from trainers.architectures import Network, register
from trainers.tasks import InputSpec, OutputSpec

Norm = Literal["none", "batch", "layer"]
Init = Literal["default", "he", "orthogonal"]


class FullyConnected(Network):
    """`depth` hidden layers (linear, norm, ReLU, dropout); a tap after each ReLU."""

    def __init__(
        self, num_inputs: int, num_classes: int, depth: int, width: int, norm: Norm, dropout: float
    ) -> None:
        super().__init__()
        norms = {"none": nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
        self.hidden = nn.ModuleDict()
        for index in range(depth):
            linear = nn.Linear(num_inputs if index == 0 else width, width)
            layer = [linear, norms[norm](width), nn.ReLU()]
            self.hidden[f"layer{index + 1}"] = nn.Sequential(*layer)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, num_classes)
        self.taps = tuple(f"hidden.{name}" for name in self.hidden)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (batch, num_classes) of inputs (batch, *shape)."""
        features = inputs.flatten(1)
        for layer in self.hidden.values():
            features = self.dropout(layer(features))
        logits: Tensor = self.output(features)
        return logits


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
        raise ValueError(
            f"architecture fcn: depth {depth}, width {width}, dropout {dropout}; allowed: "
            "depth and width of 1 or more, dropout from 0 to below 1"
        )
    network = FullyConnected(
        math.prod(input.shape), output.num_classes, depth, width, norm, dropout
    )
    if init != "default":
        for module in network.hidden.modules():
            if isinstance(module, nn.Linear):
                _initialise(module, init)
    return network


def _initialise(linear: nn.Linear, init: Init) -> None:
    if init == "he":
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
    else:
        nn.init.orthogonal_(linear.weight, gain=math.sqrt(2.0))
    nn.init.zeros_(linear.bias)
