"""Guide features of a batch, and the interface of their caches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from trainers.distances import GuideGrams

#: Outputs (batch, ...) by guide tap, or the Gram matrices of the batch.
Features = Mapping[str, Tensor] | GuideGrams


class Cached(Protocol):
    """A cache of a guide's features of the training examples."""

    def batch(self, examples: Tensor) -> Features | None:
        """Features of training examples, by their indices (batch,); None: the guide has to run."""


class NoCache:
    """A cache that is always empty, so that the guide runs in every step."""

    def batch(self, examples: Tensor) -> None:
        """None for any examples."""
