"""Representational measures: similarities of target and guide features, for analysis alone.

`create(name, **options)` gives a callable `(target (n, p), guide (n, q)) -> float`: 1 if the two
are the same up to the measure's invariances. A measure need not be differentiable; everything is
float64. One measure (or one family) is one file of this package.

Entries declare, as `register(name, invariances=..., cost=..., bias=..., source=...)`: the members
of `INVARIANCES` that leave the similarity unchanged, on either side and with any options; the cost
in n, p and q; the value for unrelated features, which is seldom 0; and the paper it is from. The
fewest rows are `min_rows` of the measure that `create` returns.

PWCCA (Morcos et al. 2018) is left out on purpose: no two libraries agree on what it is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainers.distances import FACTS, check_same_rows, full_precision
from trainers.measures._features import Features
from trainers.measures._products import Products, TapProducts
from trainers.registry import Component, Registry

MEASURES: Registry[type[Measure]]


class Comparison(NamedTuple):
    """A similarity, and which sides have collapsed (no variance); then the similarity is 0."""

    similarity: float
    target_collapsed: bool
    guide_collapsed: bool


@dataclass(frozen=True)
class Side:
    """One side prepared for a measure, from features of `shape` (n, p).

    `finite` is false if any feature is NaN or infinite. `view` is then None, and also if the
    features have no variance.
    """

    shape: torch.Size
    view: Any
    finite: bool

    @property
    def collapsed(self) -> bool:
        """Whether the side is finite and has no variance."""
        return self.finite and self.view is None


class Measure(ABC):
    """Similarity of `target` features (n, p) and `guide` features (n, q); rows are examples.

    A subclass needs `view`, which depends on one side alone and is shared between all pairs of that
    side, and `similarity`. If products of centred features suffice, it may define `from_products`,
    and is then accumulated over batches without keeping any rows.
    """

    #: Fewest rows for which the measure is defined; with fewer, calls raise ValueError.
    min_rows: int = 2
    #: Whether exchanging target and guide gives the same similarity.
    symmetric: bool = True
    #: Whether `from_products` is defined.
    from_sums: bool = False
    #: Whether it is estimated from sums of unbiased HSIC over batches.
    from_hsic: bool = False
    #: Whether a side may be its n x n Gram matrix alone, however narrow the features (`in_grams`).
    from_grams: bool = False

    @abstractmethod
    def view(self, features: Features) -> Any:
        """The form of a side with variance that `similarity` takes; None if it has collapsed."""

    @abstractmethod
    def similarity(self, target: Any, guide: Any) -> float:
        """The similarity of two views, neither of them None."""

    def in_grams(self) -> Measure:
        """The same measure with sides as n x n Gram matrices; only with `from_grams`."""
        raise NotImplementedError(type(self).__name__)

    def is_empty(self, tap: TapProducts) -> bool:  # noqa: ARG002
        """Whether a side with variance has collapsed nevertheless, as when `view` gives None."""
        return False

    def from_products(self, pair: Products) -> float:
        """The similarity of two sides with variance; only with `from_sums`."""
        raise NotImplementedError(type(self).__name__)

    def prepare(self, features: Tensor) -> Side:
        """Prepare one side, features (n, p), to be passed to `compare` in its place.

        Raises ValueError if there are too few rows, or if the measure is not defined for this
        shape.
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
        """Raise ValueError if the measure is not defined for features (n, p)."""
        if n < self.min_rows:
            raise ValueError(f"{type(self).__name__} needs n >= {self.min_rows} rows, got n = {n}")

    @torch.no_grad()
    def compare(self, target: Tensor | Side, guide: Tensor | Side) -> Comparison:
        """Similarity of `target` (n, p) and `guide` (n, q), and whether either has collapsed.

        Sides may be prepared. The similarity is 0 if a side has collapsed, and NaN if features are
        not finite. Raises ValueError as `prepare` does, and if the sides differ in rows.
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


#: The registered measures.
MEASURES = Registry("measure", "trainers.measures", facts=FACTS)
register = MEASURES.register


def create(name: str, **options: Any) -> Measure:
    """The measure registered as `name`; raises UserError for unknown names and options."""
    return build(MEASURES.component(name, **options))


def build(component: Component) -> Measure:
    """The measure that a component describes; raises UserError if there is none of its name."""
    measure: Measure = MEASURES.make(component)
    return measure
