"""Sums of products of centred features, of one tap and of pairs of taps."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class TapProducts(NamedTuple):
    """Sums over the n rows of one tap's centred features x, float64."""

    #: X'X (p, p).
    product: Tensor
    #: Trace of X'X.
    trace: float
    #: Sum of |x|^4.
    rows: float
    #: Number of rows.
    n: int
    #: Squared norm of the features before centring.
    size: float
    #: Relative rounding of the features.
    noise: float

    @property
    def is_constant(self) -> bool:
        """Whether all rows are equal up to rounding."""
        return self.trace <= self.noise**2 * self.size


class Products(NamedTuple):
    """Sums over rows of the centred features x and y of two taps, float64."""

    target: TapProducts
    guide: TapProducts
    #: X'Y (p, q).
    cross: Tensor
    #: Sum of |x|^2 |y|^2.
    rows: float
