"""Matrices over pairs of rows (n, n): distances, and kernels projected to unit norm."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.distances._grams import _centre, _u_centre

#: Squared distances up to this fraction of the largest squared norm are 0. They come from
#: products, and float32 features cannot be closer without being equal.
_SAME = 1e-14
#: Values that differ by less than this fraction of the largest are equal.
_TIE = 2.0**-40


def squared_distances(features: Tensor) -> Tensor:
    """Squared Euclidean distances (n, n) of centred features (n, p); of equal rows exactly 0."""
    gram = features @ features.T
    norms = gram.diagonal().clone()
    distances = norms[:, None] + norms - 2 * gram
    return distances.masked_fill_(distances <= _SAME * norms.max(), 0.0)


def upper(matrix: Tensor) -> Tensor:
    """The strict upper triangle of (n, n), flat."""
    n = len(matrix)
    above = torch.ones(n, n, dtype=torch.bool, device=matrix.device).triu_(1)
    return matrix[above]


def settled(values: Tensor) -> Tensor:
    """Values on a grid so fine that only rounding disappears: what was equal is equal again.

    Order statistics (ranks, neighbours) would otherwise be decided by the order of additions.
    """
    step = values.abs().amax() * _TIE
    return values if not step > 0 else (values / step).round_()


def unit_gram(gram: Tensor, unbiased: bool, noise: float) -> Tensor | None:
    """A kernel (n, n), centred or U-centred in place, with norm 1; None where nothing is left."""
    before = torch.linalg.vector_norm(gram)
    (_u_centre if unbiased else _centre)(gram)
    norm = torch.linalg.vector_norm(gram)
    return None if bool(norm <= noise * before) else gram.div_(norm)
