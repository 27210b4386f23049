"""Linear centred kernel alignment (CKA), biased and unbiased, in float64."""

from __future__ import annotations

import math
from copy import copy
from typing import Any

import torch
from torch import Tensor

from trainers.distances import linear_cka as distance
from trainers.distances._grams import debias
from trainers.measures import register
from trainers.measures._features import Features
from trainers.measures._of_distance import OfDistance
from trainers.measures._products import OwnProducts, Products

#: The unbiased squared norm is a difference of terms up to the squared trace: below this fraction
#: of that it is what rounding left.
_CANCELLED = 16 * torch.finfo(torch.float64).eps


# Version 2: the numbers of the distance, whose last bits are others.
@register(
    "linear_cka",
    version=2,
    invariances=("rotation", "scale", "mean"),
    cost="the smaller of n^2 (p + q) and n (p + q)^2",
    bias="biased: independent features come out similar, the more the wider they are and the fewer "
    "the rows (.94 at n 64, width 1024); unbiased: 0 on average, and may be negative",
    source="Kornblith et al. 2019, Similarity of Neural Network Representations Revisited",
)
class LinearCKA(OfDistance):
    """Linear CKA; 1 for features that agree up to rotation, scale and mean.

    1 - the distance of this name: biased by default. `unbiased` needs n >= 4, and also calls a side
    collapsed whose rows are all equally far from each other. Of rows that were summed up there is
    no distance: that form is here.
    """

    from_sums = from_grams = True

    def __init__(self, *, unbiased: bool = False) -> None:
        self._linear = distance.LinearCKA(unbiased=unbiased)
        super().__init__(self._linear)
        self._as_gram = False
        self.unbiased = self.from_hsic = unbiased

    def in_grams(self) -> LinearCKA:
        """Its matrix is the most of a side's cost, and then a pair costs next to nothing."""
        shared = copy(self)
        shared._as_gram = True
        return shared

    def view(self, features: Features) -> Any:
        """The distance's side, or its Gram matrix alone."""
        if not self._as_gram:
            return super().view(features)
        side = self._linear.gram_alone(features.raw, features.noise)
        return None if side.is_empty else side

    def is_empty(self, own: OwnProducts) -> bool:
        """Whether all rows are equally far from each other (unbiased)."""
        return self.unbiased and self._own(own) <= max(own.noise**2, _CANCELLED) * own.trace**2

    def from_products(self, pair: Products) -> float:
        """CKA of all rows that were summed up."""
        target, guide = pair.target, pair.guide
        cross = self._inner(pair.cross, pair.rows, target.trace * guide.trace, target.n)
        return cross / math.sqrt(self._own(target)) / math.sqrt(self._own(guide))

    def _own(self, own: OwnProducts) -> float:
        return self._inner(own.product, own.rows, own.trace**2, own.n)

    def _inner(self, product: Tensor, rows: float, traces: float, n: int) -> float:
        """<P(XX'), P(YY')> from X'Y, the sum of |x|^2 |y|^2 over rows, and |X|^2 |Y|^2."""
        squared = float(product.square().sum())
        return squared + debias(rows, traces, n) if self.unbiased else squared
