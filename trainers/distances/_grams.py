"""Gram matrices of several taps at once, their projections, and differentiable helpers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trainers.distances import full_precision
from trainers.distances._centring import Centred, is_constant, needs_rescaling, rounding

_Tap = TypeVar("_Tap")
_Number = TypeVar("_Number", float, Tensor)


def stackable(taps: Mapping[_Tap, Tensor]) -> Iterable[list[_Tap]]:
    """Groups of taps whose Gram matrices have the same shape and type."""
    groups: dict[Any, list[_Tap]] = {}
    for tap, features in taps.items():
        kind = (features.shape[:-1], features.dtype, features.device)
        groups.setdefault(kind, []).append(tap)
    return groups.values()


@dataclass(frozen=True)
class GramSide:
    """Projected Gram matrices (t, ..., n, n) of t taps.

    `features` are the taps' centred features (..., n, p), times their `scale` (t, ..., 1, 1) if
    any; empty unless they were to be kept. `inverse_norm` (t, ...) is 1 / |P(XX')|, or 0 without
    variance.
    """

    features: list[Tensor]
    grams: Tensor
    inverse_norm: Tensor
    scale: Tensor | None


def gram_side(
    taps: Sequence[Tensor],
    unbiased: bool,
    *,
    keep: bool,
    noise: float = 0.0,
    rescale: bool = False,
) -> GramSide:
    """The side of t stackable taps (..., n, p), whose widths p may differ.

    With `keep` it holds their features; `noise` as in `SymmetricDistance.side`. Only operations
    that depend on the width go tap by tap: on small matrices, launching an operation costs more
    than computing it.
    """
    features, products, mean_parts, scales = [], [], [], []
    for tap in taps:
        centred = Centred.of(tap).rescaled() if rescale else Centred.of(tap)
        products.append(centred.features @ centred.features.mT)
        mean_parts.append(centred.mean_part())
        if centred.scale is not None:
            scales.append(centred.scale)
        if keep:
            features.append(centred.features)
    grams = torch.stack(products)
    trace = project(grams, unbiased)
    size = trace + torch.stack(mean_parts)
    if not rescale and needs_rescaling(trace, size):
        # All taps are rescaled: a power of two changes no digit of the others.
        return gram_side(taps, unbiased, keep=keep, noise=noise, rescale=True)
    scale = torch.stack(scales) if rescale else None
    inverse_norm = inverse_norms(grams, trace, size, unbiased, noise)
    return GramSide(features, grams, inverse_norm, scale)


def project(grams: Tensor, unbiased: bool) -> Tensor:
    """Centre or U-centre Gram matrices (..., n, n) in place.

    Returns the traces (...) after centring, or before U-centring, which zeroes the diagonal.
    """
    return _u_centre(grams) if unbiased else _centre(grams)


def inverse_norms(
    projected: Tensor, trace: Tensor, size: Tensor, unbiased: bool, noise: float = 0.0
) -> Tensor:
    """1 / norm (...) of projected Gram matrices (..., n, n), or 0 without variance.

    `trace` (...) is from `project`, `size` (...) the squared norm of the features before centring,
    `noise` as in `SymmetricDistance.side`.
    """
    norm = torch.linalg.vector_norm(projected, dim=(-2, -1))
    empty = is_constant(trace, size)
    if unbiased:
        empty |= norm <= max(noise, rounding(trace.dtype)) * trace
    return inverse(norm, empty)


def _centre(gram: Tensor) -> Tensor:
    """Centre symmetric matrices (..., n, n) in place; return the trace (...)."""
    means = gram.mean(-1, keepdim=True)
    gram.sub_(means).sub_((means - means.mean(-2, keepdim=True)).mT)
    return gram.diagonal(dim1=-2, dim2=-1).sum(-1)


def _u_centre(gram: Tensor) -> Tensor:
    """U-centre symmetric matrices (..., n, n) in place; return the trace (...) before that."""
    n = gram.shape[-1]
    diagonal = gram.diagonal(dim1=-2, dim2=-1)
    trace = diagonal.sum(-1)
    diagonal.zero_()
    means = gram.sum(-1, keepdim=True) / (n - 2)
    gram.sub_(means).sub_((means - means.sum(-2, keepdim=True) / (n - 1)).mT)
    diagonal.zero_()
    return trace


def debias(rows: _Number, traces: _Number, n: int) -> _Number:
    """Correction that U-centring adds to <XX', YY'> of centred features (n, p) and (n, q).

    `rows` are the sums over rows of |x|^2 |y|^2, `traces` the products |X|^2 |Y|^2; both have the
    same shape.
    """
    return traces / ((n - 1) * (n - 2)) - rows * (n / (n - 2))


def inverse(norm: Tensor, empty: Tensor) -> Tensor:
    """1 / norm (...), or 0 where empty."""
    return norm.reciprocal().masked_fill_(empty, 0.0)


def gram(features: Tensor) -> Tensor:
    """Gram matrix XX' (..., n, n) of features (..., n, p); one product in the backward pass."""
    products: Tensor = _Gram.apply(features)  # type: ignore[no-untyped-call]
    return products


class _Gram(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        return features @ features.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        with full_precision(grad.device):
            product: Tensor = (grad + grad.mT) @ features
        return product


def squared_distances(features: Tensor, constant: Tensor) -> Tensor:
    """Squared distances (..., n, n) between the rows of centred features (..., n, p).

    Normalised so that their mean over all n^2 is 2 / n; zero where `constant` (...).
    """
    products = gram(features)
    trace = products.diagonal(dim1=-2, dim2=-1).sum(-1).masked_fill(constant, torch.inf)
    products = products / trace[..., None, None]
    norms = products.diagonal(dim1=-2, dim2=-1)
    return norms.unsqueeze(-1) + norms.unsqueeze(-2) - 2 * products


def centre(matrix: Tensor) -> Tensor:
    """A symmetric matrix (..., n, n) less the means of its rows and columns."""
    means = matrix.mean(-1, keepdim=True)
    return matrix - means - (means - means.mean(-2, keepdim=True)).mT


def u_centre(matrix: Tensor) -> Tensor:
    """U-centre a symmetric matrix (..., n, n), n >= 3 (Szekely & Rizzo 2014)."""
    n = matrix.shape[-1]
    off_diagonal = 1 - torch.eye(n, dtype=matrix.dtype, device=matrix.device)
    means = (matrix * off_diagonal).sum(-1, keepdim=True) / (n - 2)
    result: Tensor = matrix - means - (means - means.sum(-2, keepdim=True) / (n - 1)).mT
    return result * off_diagonal
