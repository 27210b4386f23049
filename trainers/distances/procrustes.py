"""Procrustes distance of shapes: the difference that the best rotation and scaling leave.

With features centred over rows and of Frobenius norm 1, `X (n, p)` of the target and `Y (n, q)`
of the guide (the narrower one padded by zeros),

    min over rotations Q of |XQ - Y|^2 / 2  =  1 - |X'Y|_*

with the nuclear norm `|.|_*`, the sum of singular values, and `Q = UV'` of `X'Y = USV'`. `|X'Y|_*`
is the cosine of the shapes' Riemannian angle (Williams et al. 2021), and also
the normalised Bures similarity of the two Gram matrices:

    cosine     1 - |X'Y|_*
    angular    2 / pi * arccos |X'Y|_*, a metric

both 0 for shapes that agree and 1 for orthogonal ones. The distance is computed as the left side,
which keeps its digits near agreement where 1 - |X'Y|_* and arccos lose them.

The gradient of the nuclear norm is `YVU'`, without the derivatives of U and V that are infinite at
equal singular values; of zero ones, where it is a cone, the smallest is taken. That of the angle
has length 2 / pi up to agreement, where it jumps: there (residual below rounding) it is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainers.distances import check_same_rows, full_precision, register
from trainers.distances._centring import centred_in_range, rounding
from trainers.distances._factors import factored
from trainers.distances._profiles import unit
from trainers.distances._symmetric import SymmetricDistance

_INFO: dict[str, Any] = {
    "invariances": ("rotation", "scale", "mean"),
    "cost": "n p q and a singular value decomposition, of p x q or n x n",
    "bias": "biased: independent features of width w give .13 at n 64, w 128; .02 at n 64, w 1024; "
    ".06 at n 256, w 1024, not 1; their angle .32, .11 and .23",
}


@dataclass(frozen=True)
class PreparedShape:
    """A factor (..., n, k) of norm 1 of the centred features of `shape` (..., n, p).

    Zero where they are `constant` (...).
    """

    shape: torch.Size
    factor: Tensor
    constant: Tensor

    @property
    def is_empty(self) -> bool:
        """Whether the features are constant."""
        return bool(self.constant.all())


@register(
    "procrustes",
    source="Williams et al. 2021, Generalized Shape Metrics on Neural Representations",
    **_INFO,
)
class Procrustes(SymmetricDistance):
    """1 - cosine (or the angle, as a fraction of a right angle) of two shapes at best rotation.

    The distance is 0 for features that agree up to rotation, scale and mean, 1 for orthogonal ones.
    Without variance on a side it is exactly 1 and the gradient exactly 0.
    """

    # Any two rows have the same shape, up to rotation, scale and mean.
    min_guiding_rows = 3

    def __init__(self, *, form: Literal["cosine", "angular"] = "cosine") -> None:
        self.form = form

    def side(self, features: Tensor, noise: float = 0.0) -> PreparedShape:  # noqa: ARG002
        """Prepare features (..., n, p): centred, of norm 1, in at most n dimensions."""
        shape, constant = _normalised(features)
        return PreparedShape(features.shape, factored(shape)[0], constant)

    def between(self, target: PreparedShape, guide: PreparedShape) -> Tensor:
        """Distances (...) between two prepared shapes."""
        return self._distance(target.factor, guide, target.constant)

    def forward(self, target: Tensor, guide: PreparedShape) -> Tensor:
        """Distances (...) of `target` (..., n, p) to one prepared guide.

        Raises ValueError if the guide has another number of rows than the target.
        """
        check_same_rows(target.shape, guide.shape)
        shape, constant = _normalised(target)
        return self._distance(shape, guide, constant)

    def _distance(self, shape: Tensor, guide: PreparedShape, constant: Tensor) -> Tensor:
        distance: Tensor = _CosineForm.apply(shape, guide.factor.to(shape.dtype))  # type: ignore[no-untyped-call]
        if self.form == "angular":
            distance = _angle(distance)
        return distance.masked_fill(constant | guide.constant, 1.0)


@register(
    "bures",
    source="Harvey et al. 2024, Duality of Bures and Shape Distances",
    **_INFO,
)
class Bures(Procrustes):
    """1 - normalised Bures similarity (fidelity) of Gram matrices: `procrustes`, form cosine."""

    def __init__(self) -> None:
        super().__init__(form="cosine")


def _normalised(features: Tensor) -> tuple[Tensor, Tensor]:
    """Features (..., n, p) centred and of norm 1, zero if constant; whether they are (...)."""
    centred, constant = centred_in_range(features)
    # Once more, because rounding leaves some of a mean that is large relative to the spread.
    rows = centred.features - centred.features.mean(-2, keepdim=True)
    return unit(rows.flatten(-2), constant).view_as(rows), constant


def _angle(distance: Tensor) -> Tensor:
    """Angle over a right angle, of 1 - cosine (...); zero, with gradient zero, within rounding."""
    agree = distance <= rounding(distance.dtype) ** 2
    half = (distance.masked_fill(agree, 1.0) / 2).sqrt().asin()
    return (half * (4 / math.pi)).masked_fill(agree, 0.0)


class _CosineForm(torch.autograd.Function):
    """1 - |X'Y|_* (...) of centred `X` (..., n, p) and a factor `Y` (..., n, k), both of norm 1."""

    @staticmethod
    def forward(ctx: Any, target: Tensor, guide: Tensor) -> Tensor:
        factor, basis = factored(target)
        product = factor.mT @ guide
        # The decomposition would raise for values that are not finite; the residual becomes NaN.
        finite = product.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
        left, values, right = torch.linalg.svd(
            product.masked_fill(~finite, 0.0), full_matrices=False
        )
        rotation = left @ right
        if factor.shape[-1] <= guide.shape[-1]:
            residual = factor @ rotation - guide
        else:
            residual = guide @ rotation.mT - factor
        nonzero = values > rounding(values.dtype) * values[..., :1]
        aligned = guide @ ((left * nonzero.unsqueeze(-2)) @ right).mT
        ctx.save_for_backward(aligned, basis)
        distance: Tensor = residual.square().sum((-2, -1)) / 2
        return distance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        aligned, basis = ctx.saved_tensors
        with full_precision(grad.device):
            gradient = aligned * -grad[..., None, None]
            return gradient if basis is None else gradient @ basis, None
