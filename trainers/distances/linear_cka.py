"""Linear centred kernel alignment (CKA), biased and unbiased, with a closed-form gradient.

With features centred over rows, `X (n, p)` of the target and `Y (n, q)` of the guide,

    similarity = <P(XX'), P(YY')> / (|P(XX')| |P(YY')|),    distance = 1 - similarity

in Frobenius norm. Biased (Kornblith et al. 2019, equation 5; the one that Subramaniam et al.
guide with): `P` is the identity. Unbiased (debiased HSIC: Song et al. 2012, equation 5): `P` is
U-centring. Both `P` are orthogonal projections, which makes the gradient one product, for any
number of guides `Y_j` with upstream gradients `g_j` and similarities `s_j`:

    - 2 / |K| * (sum_j g_j (L_j - s_j K / |K|)) X,    K = P(XX'),  L_j = P(YY') / |P(YY')|

The same numbers also come from `X'X`, `X'Y` and row norms alone: the cheaper form is taken.

Precision: features are centred before any product, because a mean that is large relative to the
spread destroys a Gram matrix, and once more after it, because rounding leaves some of the mean.
Results hold from feature scale 1e-20 to 1e15. Products are as precise as PyTorch's setting for
float32 products: TensorFloat-32 keeps three digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainers.distances import (
    GuideGrams,
    check_same_rows,
    constants,
    full_precision,
    register,
    shared_side,
)
from trainers.distances._centring import Centred, is_constant, needs_rescaling, rounding
from trainers.distances._cka_grams import distances_to_grams
from trainers.distances._grams import debias, gram_side, inverse, stackable
from trainers.distances._symmetric import SymmetricDistance


@register(
    "linear_cka",
    invariances=("rotation", "scale", "mean"),
    cost="the smaller of n^2 (p + q) and n (p + q)^2",
    source="Kornblith et al. 2019, Similarity of Neural Network Representations Revisited",
    bias="biased: independent features of width w give .34 at n 64, w 128; .06 at n 64, w 1024; "
    ".20 at n 256, w 1024, not 1. Unbiased: 1 within .1",
)
class LinearCKA(SymmetricDistance):
    """1 - linear CKA; 0 for features that agree up to rotation, scale and mean.

    Biased by default: then it depends on n and on the widths, and independent features appear
    similar (.94 at n 64, width 1024). `unbiased` removes the bias; its similarity may be negative,
    so that the distance may exceed 1, and it needs n >= 4. If a side has no variance beyond
    rounding (for `unbiased`: or all its rows are equally far from each other), the distance is
    exactly 1 and the gradient exactly 0.
    """

    takes_grams = True
    # Two centred rows are always opposite to each other, so that their CKA is 1.
    min_guiding_rows = 3

    def __init__(self, *, unbiased: bool = False) -> None:
        self.unbiased = unbiased
        self.min_rows = 4 if unbiased else 1

    def side(self, features: Tensor, noise: float = 0.0) -> PreparedTap:
        """Prepare features (..., n, p): a Gram matrix if p >= n, otherwise either form."""
        if features.shape[-1] < features.shape[-2]:
            return PreparedTap(features.clone(), unbiased=self.unbiased, noise=noise)
        # For wide features the Gram form is the cheaper one with any other side.
        return self.gram_alone(features, noise)

    def gram_alone(self, features: Tensor, noise: float = 0.0) -> PreparedTap:
        """Prepare features (..., n, p) as a Gram matrix, whatever their width.

        For narrow features that are compared with many others.
        """
        prepared = PreparedTap(features, unbiased=self.unbiased, noise=noise)
        _make_grams([prepared])
        prepared.source = None
        return prepared

    def between(self, target: PreparedTap, guide: PreparedTap) -> Tensor:
        """Distances (...) between two prepared sides, in the form that costs less."""
        has_features = target.source is not None and guide.source is not None
        if not has_features or self._prefers_gram(target, [guide]):
            for side in (target, guide):
                _make_grams([side])
            return 1 - _inner(target.gram, guide.gram)
        product = (guide.features.mT @ target.features).square().sum((-2, -1))
        if self.unbiased:
            product = product + _debias(target.row_norms, guide.row_norms)
        return 1 - product

    def forward(self, target: Tensor, guide: PreparedTap) -> Tensor:
        """Distances (...) of `target` (..., n, p) to one prepared guide."""
        return self.forward_each(target, [guide])[0]

    def forward_each(self, target: Tensor, guides: Sequence[PreparedTap]) -> Tensor:
        """Distances (m, ...) of `target` (..., n, p) to m prepared guides, one backward product.

        Raises ValueError if a guide has another number of rows than the target.
        """
        for guide in guides:
            check_same_rows(target.shape, guide.shape)
        return self._distances([target], [guides])[0]

    def forward_all(
        self,
        targets: Sequence[Tensor],
        guides: Sequence[Tensor],
        guide_indices: Sequence[Sequence[int]],
    ) -> list[Tensor]:
        """Distances (m, ...) of each target (..., n, p) to its m guides (..., n, q)."""
        prepared = [PreparedTap(guide, unbiased=self.unbiased) for guide in guides]
        return self._distances(
            targets, [[prepared[i] for i in indices] for indices in guide_indices]
        )

    def forward_grams(
        self, targets: Sequence[Tensor], guides: GuideGrams, guide_indices: Sequence[Sequence[int]]
    ) -> Tensor:
        """Distances (num_pairs,) of each target (n, p) to its guide taps, target by target."""
        hashable = tuple(tuple(indices) for indices in guide_indices)
        return distances_to_grams(targets, guides, hashable, unbiased=self.unbiased)

    def _distances(
        self, targets: Sequence[Tensor], guides: Sequence[Sequence[PreparedTap]]
    ) -> list[Tensor]:
        results: dict[int, Tensor] = {}
        pairs = list(zip(targets, guides, strict=True))
        wide = {i: pair[0] for i, pair in enumerate(pairs) if self._prefers_gram(*pair)}
        _make_grams(guide for i in wide for guide in guides[i])
        for batch in stackable(wide):
            grams = [[guide.gram.to(targets[i].dtype) for guide in guides[i]] for i in batch]
            each = _GramForm.apply(self.unbiased, grams, *(targets[i] for i in batch))  # type: ignore[no-untyped-call]
            results.update(zip(batch, each, strict=True))
        for i, (target, target_guides) in enumerate(pairs):
            if i not in wide:
                features = [guide.features.to(target.dtype) for guide in target_guides]
                norms = [g.row_norms.to(target.dtype) for g in target_guides if self.unbiased]
                results[i] = _FeatureForm.apply(target, features, norms, self.unbiased)  # type: ignore[no-untyped-call]
        return [results[i] for i in range(len(targets))]

    @staticmethod
    def _prefers_gram(target: Tensor | PreparedTap, guides: Sequence[PreparedTap]) -> bool:
        # Forward and backward cost n^2 p each, or n p (p + sum of q) each. Only shapes decide, not
        # which form is computed already, so that a resumed run repeats the same bits.
        n, p = target.shape[-2:]
        return n <= p + sum(guide.shape[-1] for guide in guides)


class PreparedTap:
    """A tap's features (..., n, p) prepared for linear CKA with any other side.

    It has two forms, features and Gram matrix. Either is scaled so that the projected Gram matrix
    has norm 1, or is zero without variance, so that every distance to it is 1.
    """

    #: Projected Gram matrix (..., n, n) of norm 1, once `_make_grams` has made it.
    gram: Tensor

    def __init__(self, source: Tensor, *, unbiased: bool, noise: float = 0.0) -> None:
        self.shape = source.shape
        self.unbiased = unbiased
        self.noise = noise
        #: The features (..., n, p) from which the forms are made; None if only the Gram form is.
        self.source: Tensor | None = source

    @cached_property
    def features(self) -> Tensor:
        """Centred features (..., n, q) whose projected Gram matrix has norm 1."""
        assert self.source is not None
        with constants():
            side, _ = _feature_side(Centred.of(self.source), self.unbiased, self.noise)
            return side.features * side.inverse_norm.sqrt()[..., None, None]

    @cached_property
    def row_norms(self) -> Tensor:
        """Squared norms (..., n) of the rows of `features`."""
        with constants():
            return self.features.square().sum(-1)

    @property
    def is_empty(self) -> bool:
        """Whether the features have no variance (see `LinearCKA`)."""
        return not bool((self.gram if self.source is None else self.features).any())


def _make_grams(guides: Iterable[PreparedTap]) -> None:
    """Make the Gram matrices that guides lack, in as few batches as possible."""
    missing = {
        guide: guide.source
        for guide in guides
        if guide.source is not None and "gram" not in vars(guide)
    }
    for batch in stackable(missing):
        with constants():
            side = gram_side(
                [missing[guide] for guide in batch],
                batch[0].unbiased,
                keep=False,
                noise=batch[0].noise,
            )
            grams = side.grams.mul_(side.inverse_norm[..., None, None])
        for guide, gram in zip(batch, grams, strict=True):
            guide.gram = gram


@dataclass(frozen=True)
class _FeatureSide:
    """Centred features (..., n, p), times `scale` if any, and their product X'X (..., p, p).

    `inverse_norm` (...) is 1 / |P(XX')|, or 0 without variance.
    """

    features: Tensor
    product: Tensor
    inverse_norm: Tensor
    scale: Tensor | None


def _feature_side(
    centred: Centred, unbiased: bool, noise: float = 0.0
) -> tuple[_FeatureSide, Tensor]:
    """Side of the feature form, and the squared norms (..., n) of its rows."""
    features = centred.features - centred.features.mean(-2, keepdim=True)
    row_norms = features.square().sum(-1)
    trace = row_norms.sum(-1)
    size = trace + centred.mean_part()
    if centred.scale is None and needs_rescaling(trace, size):
        return _feature_side(centred.rescaled(), unbiased, noise)
    product = features.mT @ features
    squared = product.square().sum((-2, -1))
    empty = is_constant(trace, size)
    if unbiased:
        least = max(noise**2, rounding(trace.dtype)) * squared
        squared = squared + _debias(row_norms, row_norms)
        empty |= squared <= least
    inverse_norm = inverse(squared.sqrt(), empty)
    return _FeatureSide(features, product, inverse_norm, centred.scale), row_norms


def _debias(x_norms: Tensor, y_norms: Tensor) -> Tensor:
    """Correction (...) of `debias` from the squared row norms (..., n) of both sides."""
    traces = x_norms.sum(-1) * y_norms.sum(-1)
    return debias((x_norms * y_norms).sum(-1), traces, x_norms.shape[-1])


def _debias_weights(y_norms: Tensor) -> Tensor:
    """Weights (..., n) of the rows x in half the gradient of `_debias` with respect to them."""
    n = y_norms.shape[-1]
    return y_norms.sum(-1, keepdim=True) / ((n - 1) * (n - 2)) - y_norms * (n / (n - 2))


def _inner(left: Tensor, right: Tensor) -> Tensor:
    """Frobenius inner product over the last two dimensions."""
    products: Tensor = torch.linalg.vecdot(left.flatten(-2), right.flatten(-2))
    return products


def _per_pair(values: Tensor, counts: list[int]) -> Tensor:
    """Values (t, ...) of t taps, repeated for each of their pairs: (num_pairs, ...)."""
    pairs = zip(values, counts, strict=True)
    return torch.stack([value for value, count in pairs for _ in range(count)])


def _upstream(
    grad: Tensor,
    similarities: Tensor,
    inverse_norm: Tensor,
    scale: Tensor | None,
    counts: list[int],
) -> tuple[Tensor, Tensor]:
    """Factors in the gradient: (num_pairs, ..., 1, 1) of guides' and (t, ..., 1, 1) of targets' K.

    `grad` and `similarities` (num_pairs, ...) are in the order of the t targets, of which each has
    as many pairs as `counts` says.
    """
    guides = -2 * grad * _per_pair(inverse_norm, counts)
    sums = torch.stack([part.sum(0) for part in torch.split(guides * similarities, counts)])
    targets = (-sums * inverse_norm)[..., None, None]
    guides = guides[..., None, None]
    if scale is None:
        return guides, targets
    return guides * _per_pair(scale, counts), targets * scale


class _GramForm(torch.autograd.Function):
    """Distances (m, ...) of each of t targets (..., n, p) from n x n products.

    `grams` holds for each target the m Gram matrices (..., n, n) of `PreparedTap.gram`.
    """

    @staticmethod
    def forward(
        ctx: Any, unbiased: bool, grams: Sequence[Sequence[Tensor]], *targets: Tensor
    ) -> tuple[Tensor, ...]:
        side = shared_side(
            targets, ("grams", unbiased), lambda: gram_side(targets, unbiased, keep=True)
        )
        ctx.counts = [len(guides) for guides in grams]
        guides = [gram for each in grams for gram in each]
        products = torch.stack(
            [
                _inner(target_gram, gram)
                for target_gram, each in zip(side.grams, grams, strict=True)
                for gram in each
            ]
        )
        similarities = products * _per_pair(side.inverse_norm, ctx.counts)
        ctx.save_for_backward(
            similarities, side.inverse_norm, side.scale, side.grams, *side.features, *guides
        )
        return torch.split(1 - similarities, ctx.counts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        similarities, inverse_norm, scale, target_grams, *rest = ctx.saved_tensors
        features, grams = rest[: len(grads)], iter(rest[len(grads) :])
        grad = torch.cat(grads)
        guides, targets = _upstream(grad, similarities, inverse_norm, scale, ctx.counts)
        results = []
        with full_precision(grad.device):
            for i, factors in enumerate(torch.split(guides, ctx.counts)):
                matrix = target_grams[i] * targets[i]
                for factor in factors:
                    matrix.addcmul_(next(grams), factor)
                results.append(matrix @ features[i])
        return None, None, *results


class _FeatureForm(torch.autograd.Function):
    """Distances (m, ...) from p x p and p x q products and, if unbiased, norms of rows.

    `features` and `row_norms` are as in `PreparedTap`; the biased form takes no `row_norms`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        target: Tensor,
        features: Sequence[Tensor],
        row_norms: Sequence[Tensor],
        unbiased: bool,
    ) -> Tensor:
        side, target_norms = shared_side(
            [target], ("features", unbiased), lambda: _feature_side(Centred.of(target), unbiased)
        )
        crosses = [guide.mT @ side.features for guide in features]
        products = torch.stack([cross.square().sum((-2, -1)) for cross in crosses])
        if unbiased:
            products += torch.stack([_debias(target_norms, norms) for norms in row_norms])
        similarities = products * side.inverse_norm
        ctx.save_for_backward(
            similarities,
            side.inverse_norm,
            side.scale,
            side.features,
            side.product,
            target_norms,
            *crosses,
            *features,
            *row_norms,
        )
        ctx.unbiased = unbiased
        return 1 - similarities

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        similarities, inverse_norm, scale, centred, product, target_norms = ctx.saved_tensors[:6]
        m = len(similarities)
        crosses, features, row_norms = (ctx.saved_tensors[6 + i * m :][:m] for i in range(3))
        scales = None if scale is None else scale[None]
        factors, targets = _upstream(grad, similarities, inverse_norm[None], scales, [m])
        with full_precision(grad.device):
            result = centred @ (product * targets[0])
            for factor, guide, cross in zip(factors, features, crosses, strict=True):
                result += guide @ (cross * factor)
            if ctx.unbiased:
                weights = targets[0, ..., 0] * _debias_weights(target_norms)
                for factor, norms in zip(factors, row_norms, strict=True):
                    weights += factor[..., 0] * _debias_weights(norms)
                result += weights.unsqueeze(-1) * centred
                result -= result.mean(-2, keepdim=True)
            return result, None, None, None
