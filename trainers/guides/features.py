"""The features that a guide shows of a batch, and what may be cached of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from trainers.distances import GuideGrams

#: Guide tap -> output (batch, ...), or the Gram matrices of the batch.
Features = Mapping[str, Tensor] | GuideGrams


class Cached(Protocol):
    """What is kept of a guide."""

    def batch(self, examples: Tensor) -> Features | None:
        """What the guide shows of training examples: guide tap -> features (batch, ...), or Gram
        matrices; None: it has to run.
        """  # fmt: skip


class NoCache:
    """Nothing is kept: the guide runs in every step."""

    def batch(self, examples: Tensor) -> None:
        """None."""
