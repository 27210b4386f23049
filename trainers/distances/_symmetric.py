"""Distances that prepare target and guide alike, so that a measure can be made of them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol

from torch import Tensor

from trainers.distances import Distance


class PreparedSide(Protocol):
    """What a distance needs of one side, whichever."""

    @property
    def is_empty(self) -> bool:
        """Whether the side has nothing to compare, so that its distances are all 1."""


class SymmetricDistance(Distance):
    """A distance that is defined by what `side` makes of each of its sides.

    `forward` computes what `between` does, with a gradient and for batches of features.
    """

    @abstractmethod
    def side(self, features: Tensor, noise: float = 0.0) -> Any:
        """What depends on features (..., n, p) alone: a `PreparedSide`.

        `noise` is the relative rounding that they came with, where that is more than their type's:
        float64 features that were float32 vary by what float32 rounds.
        """

    @abstractmethod
    def between(self, target: Any, guide: Any) -> Tensor:
        """Distance (...) of two prepared sides of features (..., n, p) and (..., n, q)."""

    def precompute(self, guide: Tensor) -> Any:
        """The guide's side."""
        return self.side(guide)
