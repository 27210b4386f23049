"""Linear CKA of several target taps with a guide that is given by Gram matrices, batched.

The formulas are those of `linear_cka`. Target and guide matrices are in one tensor, and everything
but the products of the targets' features is computed for all of them together: at the sizes of a
batch, launching an operation costs more than computing it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainers.distances import GuideGrams, full_precision
from trainers.distances._centring import Centred, needs_rescaling, unremarkable
from trainers.distances._grams import inverse_norms, project

#: Indices of the guide taps to which each target is mapped.
GuideIndices = tuple[tuple[int, ...], ...]


def distances_to_grams(
    targets: Sequence[Tensor], guides: GuideGrams, guide_indices: GuideIndices, *, unbiased: bool
) -> Tensor:
    """1 - linear CKA (num_pairs,) of targets (n, p) and their guides, in the order of the targets.

    The widths p may differ. Gradients reach the targets only.
    """
    distances: Tensor = _Distances.apply(unbiased, guides, guide_indices, *targets)  # type: ignore[no-untyped-call]
    return distances


class _Distances(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, unbiased: bool, guides: GuideGrams, guide_indices: GuideIndices, *targets: Tensor
    ) -> Tensor:
        features, grams, inverse_norm, scale = _sides(targets, guides, unbiased)
        t = len(targets)
        flat = grams.flatten(1)
        table = flat[:t] @ flat[t:].T
        table *= inverse_norm[:t, None]
        table *= inverse_norm[t:]
        ctx.guide_indices = guide_indices
        ctx.save_for_backward(table, inverse_norm, scale, grams, *features)
        in_table, _ = _pair_indices(guide_indices, table.shape[1], table.device)
        return 1 - table.view(-1).index_select(0, in_table)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        table, inverse_norm, scale, grams, *features = ctx.saved_tensors
        t, g = table.shape
        # Row i weighs the matrices of target i and of its guides in the gradient of target i.
        factors = table.new_zeros(t, t + g)
        _, in_factors = _pair_indices(ctx.guide_indices, g, table.device)
        factors.view(-1).index_add_(0, in_factors, grad)
        factors.diagonal().copy_((factors[:, t:] * table).sum(1)).neg_()
        factors *= inverse_norm
        factors *= -2 * inverse_norm[:t, None]
        if scale is not None:
            factors *= scale[:, None]
        with full_precision(grad.device):
            matrices = (factors @ grams.flatten(1)).view(t, *grams.shape[1:])
            if len(features) == 1:
                return None, None, None, *torch.bmm(matrices, features[0]).unbind()
            pairs = zip(matrices, features, strict=True)
            return None, None, None, *(matrix @ centred for matrix, centred in pairs)


def _sides(
    targets: Sequence[Tensor], guides: GuideGrams, unbiased: bool, *, rescale: bool = False
) -> tuple[list[Tensor], Tensor, Tensor, Tensor | None]:
    """Centred target features, projected Gram matrices, their inverse norms, and the scale.

    The features are one tensor (t, n, p), or t of (n, p) if widths differ; the matrices of t
    targets and g guides (t + g, n, n), and 1 / norm (t + g,), 0 without variance; the scale (t,) of
    the features, if any.
    """
    t, n = len(targets), len(targets[0])
    grams = targets[0].new_empty(t + len(guides.grams), n, n)
    scale = None
    if not rescale and len({target.shape[1] for target in targets}) == 1:
        together = torch.stack(list(targets))
        mean = together.mean(1, keepdim=True)
        features = [together.sub_(mean)]
        torch.bmm(together, together.mT, out=grams[:t])
        mean_part = Centred(together, mean).mean_part()
    else:
        each = [Centred.of(target) for target in targets]
        if rescale:
            each = [centred.rescaled() for centred in each]
            scale = torch.stack([c.scale for c in each if c.scale is not None]).flatten()
        features = [centred.features for centred in each]
        for target_features, gram in zip(features, grams, strict=False):
            torch.mm(target_features, target_features.mT, out=gram)
        mean_part = torch.stack([centred.mean_part() for centred in each])
    grams[t:] = guides.grams
    trace = project(grams, unbiased)
    # For a guide the whole size stands in for the part of the mean: at most twice the true sum.
    size = trace + torch.cat([mean_part, guides.sizes])
    if not unbiased and unremarkable(trace, size):
        norms = torch.linalg.vector_norm(grams, dim=(-2, -1))
        return features, grams, norms.reciprocal_(), scale
    if not rescale and needs_rescaling(trace[:t], size[:t]):
        return _sides(targets, guides, unbiased, rescale=True)
    return features, grams, inverse_norms(grams, trace, size, unbiased), scale


@lru_cache(maxsize=64)
def _pair_indices(
    guide_indices: GuideIndices, num_guides: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Flat indices (num_pairs,) of each pair in a matrix (t, g) and in a matrix (t, t + g)."""
    t = len(guide_indices)
    pairs = [(i, guide) for i, indices in enumerate(guide_indices) for guide in indices]
    in_table = [i * num_guides + guide for i, guide in pairs]
    in_factors = [i * (t + num_guides) + t + guide for i, guide in pairs]
    with torch.inference_mode(False):
        return torch.tensor(in_table, device=device), torch.tensor(in_factors, device=device)
