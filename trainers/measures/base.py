"""Representational measures: similarities of target and guide features, for analysis alone.

`create(name, **options)` gives a callable `(target (n, p), guide (n, q)) -> float`: 1 where the two
are the same up to the measure's invariances. A measure need not be differentiable; everything is
float64. One measure (or one family) is one file of this package.

Entries declare, as `register(name, invariances=..., cost=..., bias=..., source=...)`: the maps of
either side's features that leave the similarity as it is, whatever the options, of `INVARIANCES`;
the cost in n, p and q; what the value is for features that have nothing in common, which is seldom
0; and the paper it is from. The fewest rows are `min_rows` of what `create` returns.

PWCCA (Morcos et al. 2018) is left out on purpose: no two libraries agree on what it is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainers.distances import check_same_rows, full_precision
from trainers.measures._features import Features
from trainers.measures._products import OwnProducts, Products
from trainers.registry import Component, Registry

MEASURES: Registry[type[Measure]]


class Comparison(NamedTuple):
    """A similarity, and on which side there was nothing to compare (then it is 0)."""

    similarity: float
    target_collapsed: bool
    guide_collapsed: bool


@dataclass(frozen=True)
class Side:
    """What a measure needs of one side; `view` is None where it has no variance, or NaN."""

    shape: torch.Size
    view: Any
    finite: bool

    @property
    def collapsed(self) -> bool:
        """Whether there is nothing to compare."""
        return self.finite and self.view is None


class Measure(ABC):
    """Similarity of `target` features (n, p) and `guide` features (n, q); rows are examples.

    A subclass needs `view`, which depends on one side alone and is shared between all pairs that
    the side is part of, and `similarity`. Where the products of centred features say it all, it
    may add `from_products`, and is then summed up over batches without keeping any rows.
    """

    #: Fewest rows the measure is defined for; with fewer, calls raise ValueError.
    min_rows: int = 2
    #: Whether target and guide may change places.
    symmetric: bool = True
    #: Whether `from_products` is defined.
    from_sums: bool = False
    #: Whether the unbiased HSIC of batches, summed before it is divided, estimates it.
    from_hsic: bool = False
    #: Whether a side may stand as its n x n matrix alone, however narrow it is.
    from_grams: bool = False

    @abstractmethod
    def view(self, features: Features) -> Any:
        """What `similarity` needs of a side that varies; None where it has nothing to compare."""

    @abstractmethod
    def similarity(self, target: Any, guide: Any) -> float:
        """The similarity of two views."""

    def in_grams(self) -> Measure:
        """The same, each side as its n x n matrix alone (where `from_grams`)."""
        raise NotImplementedError(type(self).__name__)

    def is_empty(self, own: OwnProducts) -> bool:  # noqa: ARG002
        """Whether a side that varies has nothing to compare all the same (see `view`)."""
        return False

    def from_products(self, pair: Products) -> float:
        """The similarity of two sides that vary, from products of their centred features."""
        raise NotImplementedError(type(self).__name__)

    def prepare(self, features: Tensor) -> Side:
        """What depends on one side (n, p) alone, to be passed in its place.

        Raises ValueError when there are too few rows, or when the measure is not defined for
        this shape.
        """
        if features.dim() != 2:
            raise ValueError(f"features are (rows, features), not {tuple(features.shape)}")
        self.check_shape(*features.shape)
        with torch.no_grad(), full_precision(features.device):
            side = Features.of(features)
            finite = math.isfinite(side.size)
            view = self.view(side) if finite and not side.is_constant else None
        return Side(features.shape, view, finite)

    def check_shape(self, n: int, p: int) -> None:  # noqa: ARG002
        """Raise ValueError where the measure is not defined for features (n, p)."""
        if n < self.min_rows:
            raise ValueError(f"{type(self).__name__} needs n >= {self.min_rows} rows, got n = {n}")

    @torch.no_grad()
    def compare(self, target: Tensor | Side, guide: Tensor | Side) -> Comparison:
        """The similarity, and whether either side is collapsed; sides may be prepared.

        It is 0 where a side is collapsed, and NaN where features are not finite. Raises ValueError
        as `prepare` does, and when the sides differ in rows.
        """
        check_same_rows(target.shape, guide.shape)
        target, guide = (x if isinstance(x, Side) else self.prepare(x) for x in (target, guide))
        value = 0.0
        if not (target.finite and guide.finite):
            value = math.nan
        elif not (target.collapsed or guide.collapsed):
            value = self.similarity(target.view, guide.view)
        return Comparison(value, target.collapsed, guide.collapsed)

    def __call__(self, target: Tensor | Side, guide: Tensor | Side) -> float:
        """The similarity alone; see `compare`."""
        return self.compare(target, guide).similarity


MEASURES = Registry("measure", "trainers.measures")
register = MEASURES.register


def create(name: str, **options: Any) -> Measure:
    """The measure registered as `name`; unknown names and options raise ValueError."""
    return build(MEASURES.component(name, **options))


def build(component: Component) -> Measure:
    """The measure that a component describes."""
    measure: Measure = MEASURES.make(component)
    return measure
