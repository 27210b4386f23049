"""What some measures need of features: products of one tap's rows, and of two taps' together."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class OwnProducts(NamedTuple):
    """Sums over the n rows of one tap's centred features x, float64."""

    #: X'X (p, p), and its trace.
    product: Tensor
    trace: float
    #: Sum of |x|^4.
    rows: float
    n: int
    #: Squared norm before centring, and relative rounding, of the features.
    size: float
    noise: float

    @property
    def is_constant(self) -> bool:
        """Whether all rows are equal up to rounding."""
        return self.trace <= self.noise**2 * self.size


class Products(NamedTuple):
    """Sums over rows of the centred features x and y of two taps, float64."""

    target: OwnProducts
    guide: OwnProducts
    #: X'Y (p, q), and the sum of |x|^2 |y|^2.
    cross: Tensor
    rows: float
