"""Projected Gram matrices of several taps at once: of n x n products, whatever the widths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from trainers.distances._centring import Centred, is_constant, needs_rescaling, rounding

_Tap = TypeVar("_Tap")


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

    `features` are the taps' centred features (..., n, p) where they were to be kept, times their
    `scale` (t, ..., 1, 1) if any. `inverse_norm` (t, ...) is 1 / |P(XX')|, or 0 without variance.
    """

    features: list[Tensor]
    grams: Tensor
    inverse_norm: Tensor
    scale: Tensor | None


def gram_side(
    taps: Sequence[Tensor], unbiased: bool, *, keep: bool, rescale: bool = False
) -> GramSide:
    """The side of t stackable taps (..., n, p), whose widths p may differ; `keep` their features.

    One by one only what depends on the width: on small matrices an operation costs more to start
    than to do, so that the rest is done for all taps at once.
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
    trace = _u_centre(grams) if unbiased else _centre(grams)
    size = trace + torch.stack(mean_parts)
    if not rescale and needs_rescaling(trace, size):
        # All of them: a power of two changes no digit of those that did not need it.
        return gram_side(taps, unbiased, keep=keep, rescale=True)
    norm = torch.linalg.vector_norm(grams, dim=(-2, -1))
    empty = is_constant(trace, size)
    if unbiased:
        empty |= norm <= rounding(trace.dtype) * trace
    scale = torch.stack(scales) if rescale else None
    return GramSide(features, grams, inverse(norm, empty), scale)


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


def inverse(norm: Tensor, empty: Tensor) -> Tensor:
    """1 / norm (...), or 0 where empty."""
    return norm.reciprocal().masked_fill_(empty, 0.0)
