"""Representational distances: differentiable dissimilarities of target and guide features.

`create(name, **options)` gives a callable `(target (n, p), guide (n, q)) -> scalar tensor`, 0 at
perfect agreement. One distance (or one family) is one file of this package.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trainers.registry import Component, Registry

DISTANCES: Registry[type[Distance]]


class Distance(ABC):
    """Dissimilarity of `target` features (n, p) and `guide` features (n, q); rows are examples.

    A subclass needs `forward` alone. `prepare` may precompute what depends on the frozen guide;
    `each` may share work on a target between the guide taps that meet it, and may work on all
    leading batch dimensions at once.
    """

    #: Fewest rows the estimate is defined for; with fewer, calls raise ValueError.
    min_rows: int = 2

    def __call__(self, target: Tensor, guide: Any) -> Tensor:
        """The distance as a scalar tensor; `guide` is (n, q) or what `prepare` returned."""
        prepared = self.prepare(guide) if isinstance(guide, Tensor) else guide
        return self.forward(target, prepared)

    @abstractmethod
    def forward(self, target: Tensor, guide: Any) -> Tensor:
        """Distance of `target` (n, p) to a prepared guide, a scalar with a finite gradient."""

    def prepare(self, guide: Tensor) -> Any:
        """What depends on `guide` (n, q) alone, to be passed in its place."""
        return guide

    def each(self, target: Tensor, guides: Sequence[Any]) -> Tensor:
        """Distances of one target (..., n, p) to m prepared guides (..., n, q).

        Returns (m,): the mean over the leading dimensions, if any.
        """
        return torch.stack([self.forward(target, guide) for guide in guides])


DISTANCES = Registry("distance", __name__)
register = DISTANCES.register


def create(name: str, **options: Any) -> Distance:
    """The distance registered as `name`; unknown names and options raise ValueError."""
    return build(DISTANCES.component(name, **options))


def build(component: Component) -> Distance:
    """The distance that a component describes."""
    return DISTANCES[component.name].factory(**component.kwargs)
