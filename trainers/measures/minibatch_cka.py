"""Alignment for analysis: how similar every guide tap is to every target tap, and tap health.

Unlike the distance that guides, this takes the whole evaluation set: the terms of unbiased linear
CKA are summed over minibatches before they are divided (Nguyen et al. 2020, Do Wide and Deep
Networks Learn the Same Things?, equation 3), so that the value does not depend on the batch size.
All arithmetic is float64, which holds the fourth powers of any float32 feature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainers.distances._centring import rounding
from trainers.distances._grams import debias, project

#: Columns that are converted to float64 at a time.
_BLOCK = 8192


class CKAAccumulator:
    """Unbiased linear CKA between all guide taps and all target taps, summed over minibatches.

    Holds a few numbers per pair of taps, whatever the number of batches. The taps of the first
    `update` are those of all.
    """

    def __init__(self) -> None:
        self.guide_taps: tuple[str, ...] = ()
        self.target_taps: tuple[str, ...] = ()
        #: Rows seen so far.
        self.num_rows = 0
        self._terms: _Terms | None = None
        self._noise = torch.empty(0)

    @torch.no_grad()
    def update(self, target: Mapping[str, Tensor], guide: Mapping[str, Tensor]) -> None:
        """Add one batch: features (n, p) by target tap and (n, q) by guide tap, same n rows.

        Raises ValueError when n < 4, where the unbiased estimate is not defined, when taps differ
        in rows, or when the taps are not those of the first batch.
        """
        guides, targets = list(guide.values()), list(target.values())
        rows = {len(features) for features in guides + targets}
        if len(rows) != 1 or min(rows) < 4:
            raise ValueError(f"all taps need the same n >= 4 rows, got n = {sorted(rows)}")
        if self._terms is None:
            self.guide_taps, self.target_taps = tuple(guide), tuple(target)
            self._noise = torch.tensor([rounding(tap.dtype) for tap in guides + targets]).double()
        if (tuple(guide), tuple(target)) != (self.guide_taps, self.target_taps):
            raise ValueError(
                f"taps changed: first guide {self.guide_taps} and target {self.target_taps}, "
                f"then guide {tuple(guide)} and target {tuple(target)}"
            )
        terms = _batch_terms(guides, targets)
        self._terms = terms if self._terms is None else self._terms.plus(terms)
        self.num_rows += rows.pop()

    def similarity(self) -> Tensor:
        """CKA (guide taps, target taps), float64 on the CPU; at most 1, may be negative.

        It is 0 where either tap is collapsed.
        """
        terms, num_guides = self._sums(), len(self.guide_taps)
        inverse = terms.own.rsqrt().masked_fill_(self._collapsed(), 0.0)
        return terms.cross * inverse[:num_guides, None] * inverse[num_guides:]

    @property
    def guide_collapsed(self) -> dict[str, bool]:
        """By guide tap: whether it has nothing to compare.

        That is, no variance beyond rounding, or rows that are all equally far from each other.
        """
        return dict(zip(self.guide_taps, self._collapsed().tolist(), strict=False))

    @property
    def target_collapsed(self) -> dict[str, bool]:
        """By target tap: the same as `guide_collapsed`."""
        flags = self._collapsed()[len(self.guide_taps) :]
        return dict(zip(self.target_taps, flags.tolist(), strict=True))

    def _sums(self) -> _Terms:
        if self._terms is None:
            raise ValueError("no batch was added: call update first")
        return self._terms

    def _collapsed(self) -> Tensor:
        terms, noise = self._sums(), self._noise**2
        return (terms.trace <= noise * terms.size) | (terms.own <= noise * terms.squared_trace)


class FeatureStatistics(NamedTuple):
    """Spread of a tap's features over examples."""

    #: Root of the variance over rows (divided by n), averaged over features.
    std: float
    #: Effective number of dimensions, between 1 and min(n - 1, p); 0 without variance.
    effective_rank: float


@torch.no_grad()
def feature_statistics(features: Tensor) -> FeatureStatistics:
    """Standard deviation and effective rank of features (n, p); (0, 0) without variance.

    Effective rank (Roy & Vetterli 2007): exp of the entropy of the singular values of the centred
    features, normalised to sum 1. Takes the eigenvalues of the smaller of the n x n and p x p
    products. Features that are not finite give NaN.
    """
    n, p = features.shape
    gram, size = _gram(features) if n <= p else _covariance(features)
    trace = float(gram.trace())
    if not math.isfinite(size):
        return FeatureStatistics(math.nan, math.nan)
    if trace <= rounding(features.dtype) ** 2 * size:
        return FeatureStatistics(0.0, 0.0)
    eigenvalues = torch.linalg.eigvalsh(gram / trace)
    noise = len(eigenvalues) * torch.finfo(torch.float64).eps
    singular = eigenvalues[eigenvalues > noise].sqrt()
    entropy = torch.special.entr(singular / singular.sum()).sum()
    return FeatureStatistics(math.sqrt(trace / (n * p)), float(entropy.exp()))


class _Terms(NamedTuple):
    """Sums over batches, guide taps before target taps in those that are by tap."""

    #: Unbiased HSIC of each guide tap with each target tap, and of each tap with itself.
    cross: Tensor
    own: Tensor
    #: Squared norm of the features, centred and not; squared trace on the scale of `own`.
    trace: Tensor
    size: Tensor
    squared_trace: Tensor

    def plus(self, other: _Terms) -> _Terms:
        return _Terms(*(mine + its for mine, its in zip(self, other, strict=True)))


def _batch_terms(guides: Sequence[Tensor], targets: Sequence[Tensor]) -> _Terms:
    n = len(guides[0])
    pairs = n * (n - 3)
    p, q = [tap.shape[1] for tap in targets], [tap.shape[1] for tap in guides]
    grams = n * n * (sum(p) + sum(q) + len(p) * len(q))
    products = n * (sum(p) * sum(q) + sum(w * w for w in p + q))
    form = _from_grams if grams <= products else _from_features
    cross, own, trace, size = (sums.cpu() for sums in form([*guides, *targets], len(guides)))
    return _Terms(cross / pairs, own / pairs, trace, size, trace**2 / pairs)


def _from_grams(taps: Sequence[Tensor], num_guides: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inner products of U-centred Grams (guides, targets) and (taps,), traces and sizes."""
    grams, sizes = zip(*(_gram(tap) for tap in taps), strict=True)
    stacked = torch.stack(grams)
    trace = project(stacked, unbiased=True)
    flat = stacked.flatten(1)
    own = torch.linalg.vecdot(flat, flat)
    return flat[:num_guides] @ flat[num_guides:].T, own, trace, trace.new_tensor(sizes)


def _from_features(
    taps: Sequence[Tensor], num_guides: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `_from_grams` gives, from products of features."""
    n = len(taps[0])
    centred = [tap.double() - tap.double().mean(0) for tap in taps]
    rows = torch.stack([features.square().sum(1) for features in centred])
    sizes = torch.stack([tap.double().square().sum() for tap in taps])
    trace = rows.sum(1)

    def inner(left: int, right: int) -> Tensor:
        product = (centred[left].T @ centred[right]).square().sum()
        return product + debias(torch.dot(rows[left], rows[right]), trace[left] * trace[right], n)

    guides, targets = range(num_guides), range(num_guides, len(taps))
    cross = torch.stack([torch.stack([inner(g, t) for t in targets]) for g in guides])
    return cross, torch.stack([inner(tap, tap) for tap in range(len(taps))]), trace, sizes


def _gram(features: Tensor) -> tuple[Tensor, float]:
    """Gram matrix (n, n) of centred features in float64; squared norm before centring."""
    n = len(features)
    gram = torch.zeros(n, n, dtype=torch.float64, device=features.device)
    size = gram.new_zeros(())
    for columns in torch.split(features, _BLOCK, dim=1):
        block = columns.double()
        size += block.square().sum()
        block = block - block.mean(0)
        gram.addmm_(block, block.T)
    return gram, float(size)


def _covariance(features: Tensor) -> tuple[Tensor, float]:
    """Product (p, p) of centred features in float64; squared norm before centring."""
    wide = features.double()
    centred = wide - wide.mean(0)
    return centred.T @ centred, float(wide.square().sum())
