"""One side's features in float64, and whether they vary beyond the rounding of their type."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from trainers.distances._centring import rounding


@dataclass(frozen=True)
class Features:
    """Features (n, p) in float64, raw and centred over rows.

    `noise` is the relative rounding of the type that they had. Float64 holds the fourth powers of
    any float32 feature, so that nothing needs rescaling.
    """

    raw: Tensor
    centred: Tensor
    noise: float

    @classmethod
    def of(cls, features: Tensor) -> Features:
        """Convert and centre features (n, p) of any floating-point type."""
        raw = features.double()
        return cls(raw, raw - raw.mean(0), rounding(features.dtype))

    @cached_property
    def size(self) -> float:
        """Squared norm before centring; not finite if any feature is not."""
        return float(self.raw.square().sum())

    @cached_property
    def trace(self) -> float:
        """Squared norm after centring."""
        return float(self.centred.square().sum())

    @property
    def is_constant(self) -> bool:
        """Whether all rows are equal up to rounding."""
        return self.trace <= self.noise**2 * self.size

    def rotated(self) -> Tensor:
        """Centred features (n, min(n, p)) with the same products between rows."""
        n, p = self.centred.shape
        return self.centred if p <= n else torch.linalg.qr(self.centred.T, mode="r").R.T
