"""Linear centred kernel alignment (CKA), biased and unbiased, with a closed-form gradient.

With features centred over rows, `X (n, p)` of the target and `Y (n, q)` of the guide,

    similarity = <P(XX'), P(YY')> / (|P(XX')| |P(YY')|),    distance = 1 - similarity

in Frobenius norm. Biased (Kornblith et al. 2019, equation 5; the one that Subramaniam et al.
guide with): `P` is the identity. Unbiased (debiased HSIC: Song et al. 2012, equation 5): `P` is
U-centring. Both `P` are orthogonal projections, which makes the gradient one product, for any
number of guides `Y_j` with upstream gradients `g_j` and similarities `s_j`:

    - 2 / |K| * (sum_j g_j (L_j - s_j K / |K|)) X,    K = P(XX'),  L_j = P(YY') / |P(YY')|

The same numbers also come from `X'X`, `X'Y` and row norms alone: the cheaper form is taken.

Precision: features are centred before any product, because a mean that is large against the
spread destroys a Gram matrix, and the little that rounding leaves of the mean is removed again
after. Results hold from feature scale 1e-20 to 1e15. Products are as precise as PyTorch is set
to make float32 products: TensorFloat-32 keeps three digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainers.distances import (
    Distance,
    check_same_rows,
    constants,
    full_precision,
    register,
)
from trainers.distances._centring import Centred, rounding


@register(
    "linear_cka",
    invariances=("rotation", "scale", "mean"),
    cost="the smaller of n^2 (p + q) and n (p + q)^2",
    source="Kornblith et al. 2019, Similarity of Neural Network Representations Revisited",
)
class LinearCKA(Distance):
    """1 - linear CKA; 0 for features that agree up to rotation, scale and mean.

    Biased by default: then it depends on n and on the widths, and independent features come out
    similar (.94 at n 64, width 1024). `unbiased` removes that; its similarity may be negative,
    so that its distance may exceed 1, and it needs n >= 4. Where a side has no variance beyond
    rounding (for `unbiased`: nor any difference between the distances of its rows), the distance
    is exactly 1 and the gradient exactly 0.
    """

    def __init__(self, *, unbiased: bool = False) -> None:
        self.unbiased = unbiased
        self.min_rows = 4 if unbiased else 1

    def precompute(self, guide: Tensor) -> PreparedGuide:
        """The guide's normalised Gram matrix or, while a cheaper form is possible, features."""
        return PreparedGuide(guide, unbiased=self.unbiased)

    def forward(self, target: Tensor, guide: PreparedGuide) -> Tensor:
        """Distances (...) of `target` (..., n, p) to one prepared guide."""
        return self.forward_each(target, [guide])[0]

    def forward_each(self, target: Tensor, guides: Sequence[PreparedGuide]) -> Tensor:
        """Distances (m, ...) of `target` (..., n, p) to m prepared guides, one backward product.

        Raises ValueError when a guide has other rows than the target.
        """
        for guide in guides:
            check_same_rows(target.shape, guide.shape)
        distances: Tensor
        if self._prefers_gram(target, guides):
            grams = [guide.gram.to(target.dtype) for guide in guides]
            distances = _GramForm.apply(target, grams, self.unbiased)  # type: ignore[no-untyped-call]
        else:
            features = [guide.features.to(target.dtype) for guide in guides]
            norms = [guide.row_norms.to(target.dtype) for guide in guides if self.unbiased]
            distances = _FeatureForm.apply(target, features, norms, self.unbiased)  # type: ignore[no-untyped-call]
        return distances

    @staticmethod
    def _prefers_gram(target: Tensor, guides: Sequence[PreparedGuide]) -> bool:
        # Forward and backward are n^2 p each, or n p (p + sum of q) each. Only shapes decide, not
        # what is computed already, so that a resumed run repeats the same bits.
        n, p = target.shape[-2:]
        return n <= p + sum(guide.shape[-1] for guide in guides)


class PreparedGuide:
    """What linear CKA needs of a guide tap's features (..., n, q), whatever the target.

    Either form is scaled so that its projected Gram matrix has norm 1, or is zero for a guide
    without variance, which makes every distance to it 1.
    """

    def __init__(self, features: Tensor, *, unbiased: bool) -> None:
        self.shape = features.shape
        self.device = features.device
        self._unbiased = unbiased
        self._centred: Centred | None = Centred.of(features)
        if features.shape[-1] >= features.shape[-2]:
            # Wide: no target makes the feature form the cheaper one, so the features can go.
            _ = self.gram
            self._centred = None

    @cached_property
    def gram(self) -> Tensor:
        """Projected Gram matrix (..., n, n) of norm 1."""
        assert self._centred is not None
        with full_precision(self.device), constants():
            side = _gram_side(self._centred, self._unbiased)
            return side.product.mul_(side.inverse_norm[..., None, None])

    @cached_property
    def features(self) -> Tensor:
        """Centred features (..., n, q) whose projected Gram matrix has norm 1."""
        assert self._centred is not None
        with full_precision(self.device), constants():
            side, _ = _feature_side(self._centred, self._unbiased)
            return side.features * side.inverse_norm.sqrt()[..., None, None]

    @cached_property
    def row_norms(self) -> Tensor:
        """Squared norms (..., n) of the rows of `features`."""
        with full_precision(self.device), constants():
            return self.features.square().sum(-1)


@dataclass(frozen=True)
class _Side:
    """One side's centred features, times `scale` if any, and their product.

    `product` is the projected Gram matrix (..., n, n), or `X'X` (..., p, p). `inverse_norm`
    (...) is 1 / |P(XX')|, or 0 without variance.
    """

    features: Tensor
    product: Tensor
    inverse_norm: Tensor
    scale: Tensor | None


def _gram_side(centred: Centred, unbiased: bool) -> _Side:
    features = centred.features
    gram = features @ features.mT
    trace = _u_centre(gram) if unbiased else _centre(gram)
    size = centred.size(trace)
    if centred.needs_rescaling(trace, size):
        return _gram_side(centred.rescaled(), unbiased)
    norm = torch.linalg.vector_norm(gram, dim=(-2, -1))
    empty = centred.is_constant(trace, size)
    if unbiased:
        empty |= norm <= rounding(trace.dtype) * trace
    return _Side(features, gram, _inverse(norm, empty), centred.scale)


def _centre(gram: Tensor) -> Tensor:
    """Centre symmetric matrices (..., n, n) in place; return the trace (...)."""
    means = gram.mean(-1, keepdim=True)
    gram.sub_(means).sub_((means - means.mean(-2, keepdim=True)).mT)
    return gram.diagonal(dim1=-2, dim2=-1).sum(-1)


def _u_centre(gram: Tensor) -> Tensor:
    """U-centre symmetric matrices (..., n, n) in place; return the trace (...) of before."""
    n = gram.shape[-1]
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    trace = diagonal.sum(-1)
    diagonal.zero_()
    means = gram.sum(-1, keepdim=True) / (n - 2)
    gram.sub_(means).sub_((means - means.sum(-2, keepdim=True) / (n - 1)).mT)
    diagonal.zero_()
    return trace


def _feature_side(centred: Centred, unbiased: bool) -> tuple[_Side, Tensor]:
    """The side, and the squared norms (..., n) of its rows."""
    features = centred.features - centred.features.mean(-2, keepdim=True)
    row_norms = features.square().sum(-1)
    trace = row_norms.sum(-1)
    size = centred.size(trace)
    if centred.needs_rescaling(trace, size):
        return _feature_side(centred.rescaled(), unbiased)
    product = features.mT @ features
    squared = product.square().sum((-2, -1))
    empty = centred.is_constant(trace, size)
    if unbiased:
        noise = rounding(trace.dtype) * squared
        squared = squared + _debias(row_norms, row_norms)
        empty |= squared <= noise
    return _Side(features, product, _inverse(squared.sqrt(), empty), centred.scale), row_norms


def _inverse(norm: Tensor, empty: Tensor) -> Tensor:
    return norm.reciprocal().masked_fill_(empty, 0.0)


def _debias(rows: Tensor, others: Tensor) -> Tensor:
    """What U-centring adds to <XX', YY'> of centred features, from their squared row norms."""
    n = rows.shape[-1]
    traces = rows.sum(-1) * others.sum(-1)
    return traces / ((n - 1) * (n - 2)) - (rows * others).sum(-1) * (n / (n - 2))


def _debias_weights(others: Tensor) -> Tensor:
    """Half the gradient (..., n) of `_debias` with respect to the rows, per unit of the rows."""
    n = others.shape[-1]
    return others.sum(-1, keepdim=True) / ((n - 1) * (n - 2)) - others * (n / (n - 2))


def _inner(left: Tensor, right: Tensor) -> Tensor:
    """Frobenius inner product over the last two dimensions."""
    products: Tensor = torch.linalg.vecdot(left.flatten(-2), right.flatten(-2))
    return products


def _upstream(
    grad: Tensor, similarities: Tensor, inverse_norm: Tensor, scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Factors (m, ..., 1, 1) of each guide's product and (..., 1, 1) of the target's own."""
    guides = -2 * grad * inverse_norm
    own = -(guides * similarities).sum(0) * inverse_norm
    guides, own = guides[..., None, None], own[..., None, None]
    return (guides, own) if scale is None else (guides * scale, own * scale)


class _GramForm(torch.autograd.Function):
    """Distances (m, ...) from n x n products; `grams` as in `PreparedGuide.gram`."""

    @staticmethod
    def forward(ctx: Any, target: Tensor, grams: Sequence[Tensor], unbiased: bool) -> Tensor:
        side = _gram_side(Centred.of(target), unbiased)
        products = torch.stack([_inner(side.product, gram) for gram in grams])
        similarities = products * side.inverse_norm
        ctx.save_for_backward(
            similarities, side.inverse_norm, side.scale, side.features, side.product, *grams
        )
        return 1 - similarities

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        similarities, inverse_norm, scale, own_features, product, *grams = ctx.saved_tensors
        factors, own = _upstream(grad, similarities, inverse_norm, scale)
        with full_precision(grad.device):
            matrix = product * own
            for factor, gram in zip(factors, grams, strict=True):
                matrix.addcmul_(gram, factor)
            return matrix @ own_features, None, None


class _FeatureForm(torch.autograd.Function):
    """Distances (m, ...) from p x p and p x q products and, for unbiased ones, norms of rows.

    `features` and `row_norms` are as in `PreparedGuide`; biased ones take no `row_norms`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        target: Tensor,
        features: Sequence[Tensor],
        row_norms: Sequence[Tensor],
        unbiased: bool,
    ) -> Tensor:
        side, own_norms = _feature_side(Centred.of(target), unbiased)
        crosses = [guide.mT @ side.features for guide in features]
        products = torch.stack([cross.square().sum((-2, -1)) for cross in crosses])
        if unbiased:
            products += torch.stack([_debias(own_norms, norms) for norms in row_norms])
        similarities = products * side.inverse_norm
        ctx.save_for_backward(
            similarities,
            side.inverse_norm,
            side.scale,
            side.features,
            side.product,
            own_norms,
            *crosses,
            *features,
            *row_norms,
        )
        ctx.unbiased = unbiased
        return 1 - similarities

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        similarities, inverse_norm, scale, own_features, product, own_norms = ctx.saved_tensors[:6]
        m = len(similarities)
        crosses, features, row_norms = (ctx.saved_tensors[6 + i * m :][:m] for i in range(3))
        factors, own = _upstream(grad, similarities, inverse_norm, scale)
        with full_precision(grad.device):
            result = own_features @ (product * own)
            for factor, guide, cross in zip(factors, features, crosses, strict=True):
                result += guide @ (cross * factor)
            if ctx.unbiased:
                weights = own[..., 0] * _debias_weights(own_norms)
                for factor, norms in zip(factors, row_norms, strict=True):
                    weights += factor[..., 0] * _debias_weights(norms)
                result += weights.unsqueeze(-1) * own_features
                result -= result.mean(-2, keepdim=True)
            return result, None, None, None
