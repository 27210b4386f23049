"""Linear centred kernel alignment (CKA), biased and unbiased, in float64.

With features centred over rows, `X (n, p)` of the target and `Y (n, q)` of the guide,

    similarity = <P(XX'), P(YY')> / (|P(XX')| |P(YY')|)

in Frobenius norm; `P` is the identity (biased; Kornblith et al. 2019, equation 5) or U-centring
(unbiased; Song et al. 2012, equation 5). Narrow features stay features, wide ones become their
n x n matrix: `P` is an orthogonal projection, so that any two of these forms can be multiplied.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.measures import Measure, register
from trainers.measures._features import Features
from trainers.measures._kernels import unit_gram
from trainers.measures._products import OwnProducts, Products

#: The unbiased squared norm is a difference of terms up to the squared trace: below this fraction
#: of that it is what rounding left.
_CANCELLED = 16 * torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class _Side:
    """`XX'` (n, n), projected, or X (n, p) itself, scaled so that |P(XX')| is 1."""

    gram: Tensor | None = None
    features: Tensor | None = None


@register(
    "linear_cka",
    invariances=("rotation", "scale", "mean"),
    cost="the smallest of n^2 (p + q), n^2 q + n p^2 and n (p q + p^2 + q^2)",
    bias="biased: independent features come out similar, the more the wider they are and the fewer "
    "the rows (.94 at n 64, width 1024); unbiased: 0 on average, and may be negative",
    source="Kornblith et al. 2019, Similarity of Neural Network Representations Revisited",
)
class LinearCKA(Measure):
    """Linear CKA; 1 for features that agree up to rotation, scale and mean.

    Biased by default, as the distance of this name. `unbiased` needs n >= 4, and also calls a side
    collapsed whose rows are all equally far from each other.
    """

    from_sums = from_grams = True

    def __init__(self, *, unbiased: bool = False) -> None:
        self._pairs = 1
        self.unbiased = self.from_hsic = unbiased
        self.min_rows = 4 if unbiased else 2

    def shared_by(self, pairs: int) -> LinearCKA:
        """With many pairs a Gram matrix pays for narrower features: it is made once."""
        shared = copy(self)
        shared._pairs = pairs
        return shared

    def view(self, features: Features) -> _Side | None:
        """What costs less for all pairs, features or Gram matrix, scaled."""
        n, p = features.centred.shape
        if p >= n or n * (p + self._pairs) < self._pairs * p * p:
            gram = features.centred @ features.centred.T
            unit = unit_gram(gram, self.unbiased, features.noise)
            return None if unit is None else _Side(gram=unit)
        own = self._product(features.centred, features.centred)
        if self._cancels(own, features.trace, features.noise):
            return None
        return _Side(features=features.centred / own**0.25)

    def similarity(self, target: _Side, guide: _Side) -> float:
        """CKA of two sides of norm 1."""
        if target.gram is not None and guide.gram is not None:
            return float((target.gram * guide.gram).sum())
        if target.features is not None and guide.features is not None:
            return self._product(target.features, guide.features)
        gram, features = target.gram, guide.features
        if gram is None or features is None:
            gram, features = guide.gram, target.features
        assert gram is not None
        assert features is not None
        return float((features * (gram @ features)).sum())

    def is_empty(self, own: OwnProducts) -> bool:
        """Whether all rows are equally far from each other (unbiased)."""
        return self._cancels(self._own(own), own.trace, own.noise)

    def from_products(self, pair: Products) -> float:
        """CKA of all rows that were summed up."""
        target, guide = pair.target, pair.guide
        cross = self._inner(pair.cross, pair.rows, target.trace, guide.trace, target.n)
        return cross / math.sqrt(self._own(target)) / math.sqrt(self._own(guide))

    def _own(self, own: OwnProducts) -> float:
        return self._inner(own.product, own.rows, own.trace, own.trace, own.n)

    def _product(self, left: Tensor, right: Tensor) -> float:
        """<P(XX'), P(YY')> of centred features (n, p) and (n, q), p and q < n."""
        a, b = (features.square().sum(1) for features in (left, right))
        traces = float(a.sum()), float(b.sum())
        return self._inner(left.T @ right, float(a @ b), *traces, len(left))

    def _inner(self, cross: Tensor, rows: float, trace: float, other: float, n: int) -> float:
        """<P(XX'), P(YY')> from X'Y, the sum of |x|^2 |y|^2 over rows, and the traces."""
        squared = float(cross.square().sum())
        if not self.unbiased:
            return squared
        return squared - rows * n / (n - 2) + trace * other / ((n - 1) * (n - 2))

    def _cancels(self, own: float, trace: float, noise: float) -> bool:
        return self.unbiased and own <= max(noise**2, _CANCELLED) * trace**2
