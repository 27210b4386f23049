"""Hints: the target's features predict the guide's through a learned linear map.

FitNets (Romero et al. 2015, equation 3, the hint loss, with a linear regressor). With features
`X (n, p)` of the target and `Y (n, q)` of the guide, and learned `W (q, p)`, `b (q)`:

    absolute: |X W' + b - Y|^2 / (n q)          relative: the same / (|Yc|^2 / (n q))

The relative form is the share of the guide's variance that is not predicted: 1 for a map that
predicts the mean, whatever the guide's scale.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from trainers.distances import Distance, register
from trainers.distances._centring import Centred, is_constant


@register(
    "hint",
    invariances=(),
    cost="n p q",
    source="Romero et al. 2015, FitNets: Hints for Thin Deep Nets",
    bias="none to speak of: a mean over rows, of a map that is learned over the whole training",
)
class Hint(Distance):
    """Squared error of a learned linear map from target to guide features, of each pair of taps.

    `scaling` relative divides by the variance of the guide's features in the batch; without
    variance the distance is then 1 and its gradient 0. The map is trained with the target, and is
    part of its checkpoints. Raises ValueError if it is called before `connect`.
    """

    learns = True
    min_rows = 1

    def __init__(self, *, scaling: Literal["relative", "absolute"] = "relative") -> None:
        self.scaling = scaling
        if scaling == "relative":
            self.min_rows = 2

    def connect(self, p: int, q: int) -> ConnectedHint:
        """The hint with a new linear map from p to q features, PyTorch's default initialisation."""
        return ConnectedHint(self.scaling, p, q)

    def forward(self, target: Tensor, guide: Tensor) -> Tensor:  # noqa: ARG002
        """Raise ValueError: only a connected hint has a map."""
        raise ValueError("distance hint learns a map for each pair of taps: connect(p, q) first")


class ConnectedHint(Hint, nn.Module):
    """A hint with its learned map from p to q features."""

    def __init__(self, scaling: Literal["relative", "absolute"], p: int, q: int) -> None:
        nn.Module.__init__(self)
        Hint.__init__(self, scaling=scaling)
        self.map = nn.Linear(p, q)

    def forward(self, target: Tensor, guide: Tensor) -> Tensor:
        """Distances (...) of `target` (..., n, p) to features `guide` (..., n, q)."""
        difference = self.map(target.to(self.map.weight.dtype)).to(target.dtype) - guide
        error: Tensor = difference.square().mean((-2, -1))
        if self.scaling == "absolute":
            return error
        centred = Centred.of(guide)
        size = centred.features.square().sum((-2, -1))
        constant = is_constant(size, size + centred.mean_part())
        unit = centred.features.square().mean((-2, -1)).masked_fill(constant, torch.inf)
        part: Tensor = error / unit + constant.to(error.dtype)
        return part
