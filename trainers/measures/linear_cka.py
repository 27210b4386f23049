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
from trainers.measures._products import Products, TapProducts

#: Fraction of the squared trace below which the unbiased squared norm, a difference of terms up to
#: that size, is rounding.
_CANCELLED = 16 * torch.finfo(torch.float64).eps


# Version 2: computed by the distance, which changed the last bits.
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

    1 - the distance of this name: biased by default. With `unbiased`, n >= 4 is needed, and a side
    whose rows are all equally far from each other counts as collapsed.
    """

    from_sums = from_grams = True

    def __init__(self, *, unbiased: bool = False) -> None:
        self._linear = distance.LinearCKA(unbiased=unbiased)
        super().__init__(self._linear)
        self._as_gram = False
        self.unbiased = self.from_hsic = unbiased

    def in_grams(self) -> LinearCKA:
        """The same measure with sides as n x n Gram matrices, whose pairs cost little."""
        in_grams = copy(self)
        in_grams._as_gram = True
        return in_grams

    def view(self, features: Features) -> Any:
        """The distance's prepared side, or its Gram matrix alone; None if it is empty."""
        if not self._as_gram:
            return super().view(features)
        side = self._linear.gram_alone(features.raw, features.noise)
        return None if side.is_empty else side

    def is_empty(self, tap: TapProducts) -> bool:
        """Whether, for `unbiased`, all rows are equally far from each other."""
        noise = max(tap.noise**2, _CANCELLED)
        return self.unbiased and self._squared_norm(tap) <= noise * tap.trace**2

    def from_products(self, pair: Products) -> float:
        """CKA of two sides with variance, from products of their centred features."""
        target, guide = pair.target, pair.guide
        cross = self._inner(pair.cross, pair.rows, target.trace * guide.trace, target.n)
        norms = math.sqrt(self._squared_norm(target)), math.sqrt(self._squared_norm(guide))
        return cross / norms[0] / norms[1]

    def _squared_norm(self, tap: TapProducts) -> float:
        """|P(XX')|^2 of one tap."""
        return self._inner(tap.product, tap.rows, tap.trace**2, tap.n)

    def _inner(self, product: Tensor, rows: float, traces: float, n: int) -> float:
        """<P(XX'), P(YY')> from X'Y, the sum of |x|^2 |y|^2 over rows, and |X|^2 |Y|^2."""
        squared = float(product.square().sum())
        return squared + debias(rows, traces, n) if self.unbiased else squared
