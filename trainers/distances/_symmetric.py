"""Distances that prepare target and guide in the same way; measures are built on them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol

from torch import Tensor

from trainers.distances import Distance


class PreparedSide(Protocol):
    """Prepared features of either side."""

    @property
    def is_empty(self) -> bool:
        """Whether the side has nothing to compare, so that its distances are all 1."""


class SymmetricDistance(Distance):
    """A distance between two sides that are prepared in the same way by `side`.

    `forward` computes the same as `between`, with a gradient and for batches of features.
    """

    @abstractmethod
    def side(self, features: Tensor, noise: float = 0.0) -> Any:
        """Prepare features (..., n, p): a `PreparedSide`, which depends on them alone.

        `noise` is the relative rounding error of the features, if it is larger than their type's:
        float64 features that were float32 have the rounding of float32.
        """

    @abstractmethod
    def between(self, target: Any, guide: Any) -> Tensor:
        """Distances (...) between two prepared sides of features (..., n, p) and (..., n, q)."""

    def precompute(self, guide: Tensor) -> Any:
        """The prepared side of guide features (..., n, q)."""
        return self.side(guide)
