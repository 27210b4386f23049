"""Linear predictivity: the share of one side's variance that a linear map of the other leaves.

With predictors `X` and responses `Y`, both centred over rows, and a ridge `r`,

    distance = 1 - R^2 = |Y - XB|^2 / |Y|^2,    B = (X'X + r I)^-1 X'Y

with the variance of all responses summed (scikit-learn: `Ridge(alpha=r)`, `r2_score(...,
multioutput="variance_weighted")`), on the rows that it is fitted to. Direction
`guide_from_target`: the target predicts the guide; `target_from_guide`: the reverse. The residual
is `r (XX' + r I)^-1 Y`, which is the smaller system when X is wider than n.

The systems are solved in float64, whatever the type of the features: a ridge is small relative to
`X'X`, whose rounding in float32 would be larger. Directions of X with less than (32 eps)^2 (eps of
float32) of its variance are rounding: no ridge is smaller than that.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from trainers.distances import Distance, check_same_rows, register
from trainers.distances._centring import centred_in_range, rounding
from trainers.distances._factors import factored
from trainers.distances._grams import gram
from trainers.distances._profiles import unit

Direction = Literal["guide_from_target", "target_from_guide"]

#: Range of ridges, in units of the predictors' squared norm: less is rounding, more makes R^2 0.
_SMALLEST, _LARGEST = rounding(torch.float32) ** 2, 1e30

_INFO: dict[str, Any] = {
    "cost": "n (p + q) times the smaller of n and the predictors' width, and a solve of that size",
}


@dataclass(frozen=True)
class Side:
    """Features of `shape` (..., n, p), centred and of norm 1, as float64 (..., n, k).

    Zero where `constant` (...); `squared_norm` (...) is that of the centred features.
    """

    shape: torch.Size
    features: Tensor
    constant: Tensor
    squared_norm: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Side:
        """The side of features (..., n, p) of any type."""
        centred, constant = centred_in_range(features)
        rows = centred.features.double()
        rows = (rows - rows.mean(-2, keepdim=True)).flatten(-2)
        squared_norm = rows.square().sum(-1)
        if centred.scale is not None:
            scale = centred.scale[..., 0, 0].double()
            squared_norm = squared_norm / scale.masked_fill(scale == 0, 1.0) ** 2
        normalised = unit(rows, constant).view_as(centred.features)
        return cls(features.shape, normalised, constant, squared_norm)


class Regression(Distance):
    """1 - R^2 of a linear map; subclasses define its ridge."""

    # Any two rows have the same shape, up to rotation, scale and mean.
    min_guiding_rows = 3

    def __init__(self, direction: Direction) -> None:
        self.direction = direction

    @abstractmethod
    def ridge_of(self, predictors: Side) -> Tensor | float:
        """The ridge (...), in units of the squared norm of the centred predictors."""

    def precompute(self, guide: Tensor) -> Side:
        """The guide's side in at most n dimensions; ValueError if it is too wide to predict."""
        side = Side.of(guide)
        if self.direction == "target_from_guide":
            self.ridge_of(side)
        return Side(side.shape, factored(side.features)[0], side.constant, side.squared_norm)

    def forward(self, target: Tensor, guide: Side) -> Tensor:
        """Distances (...) of `target` (..., n, p) to one prepared guide.

        Raises ValueError if the guide has another number of rows than the target.
        """
        check_same_rows(target.shape, guide.shape)
        side = Side.of(target)
        pair = (side, guide) if self.direction == "guide_from_target" else (guide, side)
        ridge = self.ridge_of(pair[0])
        if not isinstance(ridge, Tensor):
            ridge = torch.full((), ridge, device=target.device)
        ridge = ridge.clamp(_SMALLEST, _LARGEST)
        left = _unexplained(pair[0].features, pair[1].features, ridge)
        return left.masked_fill(side.constant | guide.constant, 1.0).to(target.dtype)


@register(
    "ridge",
    invariances=("rotation", "mean"),
    source="Yamins et al. 2014, Performance-optimized hierarchical models; Hoerl & Kennard 1970",
    bias="R^2 on the rows that are fitted, so biased: independent features of width w give .75 at "
    "n 64, w 16; .03 at n 64, w 128; .5 at n 256, w 128, not 1",
    **_INFO,
)
class Ridge(Regression):
    """1 - R^2 of a ridge regression of the guide on the target, or of the target on the guide.

    It is not symmetric, and because of the ridge not 0 for equal features. `scaling` relative: the
    ridge is `ridge` times the mean of the eigenvalues of the predictors' X'X that can differ from 0
    (squared norm over the smaller of n - 1 and width); invariant to scale. Absolute: the ridge is
    `ridge`, as in scikit-learn; a network can then lower the distance merely by growing its
    features. Without variance on a side the distance is exactly 1 and the gradient exactly 0.
    Raises ValueError for a ridge that is not positive.
    """

    def __init__(
        self,
        *,
        ridge: float = 0.1,
        scaling: Literal["relative", "absolute"] = "relative",
        direction: Direction = "guide_from_target",
    ) -> None:
        super().__init__(direction)
        if not 0 < ridge < math.inf:
            raise ValueError(f"ridge: ridge is {ridge}; allowed: more than 0, and finite")
        self.ridge = ridge
        self.scaling = scaling

    def ridge_of(self, predictors: Side) -> Tensor | float:
        """The ridge (...), in units of the squared norm of the centred predictors."""
        n, width = predictors.shape[-2:]
        if self.scaling == "relative":
            return self.ridge / min(n - 1, width)
        return self.ridge / predictors.squared_norm.masked_fill(predictors.constant, 1.0)


@register(
    "linear_regression",
    invariances=("rotation", "scale", "mean"),
    source="Kornblith et al. 2019, Similarity of Neural Network Representations Revisited",
    bias="R^2 on the rows that are fitted, so biased: with predictors of width p, independent "
    "features give 1 - p / (n - 1), not 1",
    **_INFO,
)
class LinearRegression(Regression):
    """1 - R^2 of a least squares fit of the guide on the target, or of the target on the guide.

    The distance is 0 if the responses are a linear map of the predictors; it is invariant to any
    invertible linear map of the predictors, and to rotation, scale and mean of the responses.
    Raises ValueError for predictors wider than n - 2, which fit any responses. The gradient grows
    as the inverse of the smallest direction of the predictors (up to 1e5 of their size): prefer
    `ridge` for training. Without variance on a side the distance is exactly 1 and the gradient
    exactly 0.
    """

    min_rows = 3

    def __init__(self, *, direction: Direction = "guide_from_target") -> None:
        super().__init__(direction)

    def check_shapes(self, n: int, p: int, q: int) -> None:
        """Raise ValueError if the predictors are wider than n - 2."""
        super().check_shapes(n, p, q)
        width = p if self.direction == "guide_from_target" else q
        if width > n - 2:
            raise ValueError(
                f"linear_regression: {width} predictors ({self.direction}) fit any features of "
                f"{n} rows; allowed: at most n - 2 = {n - 2}. Use larger batches, or ridge"
            )

    def ridge_of(self, predictors: Side) -> float:
        """Zero: the clamp in `forward` adds rounding alone. Raises ValueError as `check_shapes`."""
        n, width = predictors.shape[-2:]
        self.check_shapes(n, width, width)
        return 0.0


def _unexplained(predictors: Tensor, responses: Tensor, ridge: Tensor) -> Tensor:
    """Squared norm (...) of the residual of responses (..., n, q) on predictors (..., n, p)."""
    n, width = predictors.shape[-2:]
    ridges = ridge.to(predictors)[..., None, None]
    system = gram(predictors if width >= n else predictors.mT)
    unit = torch.eye(min(n, width), dtype=system.dtype, device=system.device)
    system = system + ridges * unit
    # `solve_ex` does not check for singular systems, which the ridge prevents; NaN stays NaN.
    if width >= n:
        residual = ridges * torch.linalg.solve_ex(system, responses).result
    else:
        fitted = torch.linalg.solve_ex(system, predictors.mT @ responses).result
        residual = responses - predictors @ fitted
    left: Tensor = residual.square().sum((-2, -1))
    return left
