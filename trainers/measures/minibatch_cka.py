"""Alignment for analysis: similarity of every guide tap and every target tap, and tap health.

Unlike the distance that guides, it uses the whole evaluation set: the terms of unbiased linear CKA
are summed over minibatches before they are divided (Nguyen et al. 2020, Do Wide and Deep Networks
Learn the Same Things?, equation 3), so that their expectations do not depend on the batch size. All
arithmetic is float64, which holds the fourth powers of any float32 feature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainers.distances._centring import rounding
from trainers.distances._grams import debias, project

#: Number of columns that are converted to float64 at a time.
BLOCK_COLUMNS = 8192


class CKAAccumulator:
    """Unbiased linear CKA between all guide taps and all target taps, summed over minibatches.

    Holds a few numbers per pair of taps, whatever the number of batches. All batches have the taps
    of the first `update`.
    """

    def __init__(self) -> None:
        self.guide_taps: tuple[str, ...] = ()
        self.target_taps: tuple[str, ...] = ()
        #: Number of rows added so far.
        self.num_rows = 0
        self._terms: _Terms | None = None
        self._noise = torch.empty(0)

    @torch.no_grad()
    def update(self, target: Mapping[str, Tensor], guide: Mapping[str, Tensor]) -> None:
        """Add one batch: features (n, p) by target tap and (n, q) by guide tap, same n rows.

        Raises ValueError if n < 4, where the unbiased estimate is not defined, if taps differ in
        rows, or if the taps are not those of the first batch.
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

        It is 0 if either tap has collapsed. Raises ValueError before the first `update`.
        """
        terms, num_guides = self._sums(), len(self.guide_taps)
        inverse = terms.squared_norm.rsqrt().masked_fill_(self._collapsed(), 0.0)
        return terms.cross * inverse[:num_guides, None] * inverse[num_guides:]

    @property
    def guide_collapsed(self) -> dict[str, bool]:
        """Whether a tap has collapsed, by guide tap.

        It has if it has no variance beyond rounding, or if its rows are all equally far from each
        other.
        """
        return dict(zip(self.guide_taps, self._collapsed().tolist(), strict=False))

    @property
    def target_collapsed(self) -> dict[str, bool]:
        """Whether a tap has collapsed, by target tap; see `guide_collapsed`."""
        flags = self._collapsed()[len(self.guide_taps) :]
        return dict(zip(self.target_taps, flags.tolist(), strict=True))

    def _sums(self) -> _Terms:
        if self._terms is None:
            raise ValueError("no batch was added: call update first")
        return self._terms

    def _collapsed(self) -> Tensor:
        terms, noise = self._sums(), self._noise**2
        constant = terms.trace <= noise * terms.size
        return constant | (terms.squared_norm <= noise * terms.squared_trace)


class FeatureStatistics(NamedTuple):
    """Spread of a tap's features over examples."""

    #: Root of the mean over features of their variance over rows (divided by n).
    std: float
    #: Effective number of dimensions, between 1 and min(n - 1, p); 0 without variance.
    effective_rank: float


@torch.no_grad()
def feature_statistics(features: Tensor) -> FeatureStatistics:
    """Standard deviation and effective rank of features (n, p); (0, 0) without variance.

    Effective rank (Roy & Vetterli 2007): exp of the entropy of the singular values of the centred
    features, normalised to sum 1; computed from the eigenvalues of the smaller of the n x n and
    p x p products. NaN if features are not finite.
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
    """Sums over batches; those by tap have the guide taps before the target taps."""

    #: Unbiased HSIC (guide taps, target taps).
    cross: Tensor
    #: Unbiased HSIC of each tap with itself (taps,).
    squared_norm: Tensor
    #: Squared norm of the features after centring (taps,).
    trace: Tensor
    #: Squared norm of the features before centring (taps,).
    size: Tensor
    #: Squared trace on the scale of `squared_norm` (taps,).
    squared_trace: Tensor

    def plus(self, batch: _Terms) -> _Terms:
        """The sums with those of another batch added."""
        return _Terms(*(total + term for total, term in zip(self, batch, strict=True)))


def _batch_terms(guides: Sequence[Tensor], targets: Sequence[Tensor]) -> _Terms:
    n = len(guides[0])
    pairs = n * (n - 3)
    p, q = [tap.shape[1] for tap in targets], [tap.shape[1] for tap in guides]
    grams = n * n * (sum(p) + sum(q) + len(p) * len(q))
    products = n * (sum(p) * sum(q) + sum(w * w for w in p + q))
    form = _from_grams if grams <= products else _from_features
    cross, squared, trace, size = (sums.cpu() for sums in form([*guides, *targets], len(guides)))
    return _Terms(cross / pairs, squared / pairs, trace, size, trace**2 / pairs)


def _from_grams(taps: Sequence[Tensor], num_guides: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inner products of U-centred Gram matrices (guides, targets) and (taps,), traces, sizes."""
    grams, sizes = zip(*(_gram(tap) for tap in taps), strict=True)
    stacked = torch.stack(grams)
    trace = project(stacked, unbiased=True)
    flat = stacked.flatten(1)
    squared = torch.linalg.vecdot(flat, flat)
    return flat[:num_guides] @ flat[num_guides:].T, squared, trace, trace.new_tensor(sizes)


def _from_features(
    taps: Sequence[Tensor], num_guides: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same numbers as `_from_grams`, from products of features."""
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
    """Gram matrix (n, n) of centred features in float64, and their squared norm before centring."""
    n = len(features)
    gram = torch.zeros(n, n, dtype=torch.float64, device=features.device)
    size = gram.new_zeros(())
    for columns in torch.split(features, BLOCK_COLUMNS, dim=1):
        block = columns.double()
        size += block.square().sum()
        block = block - block.mean(0)
        gram.addmm_(block, block.T)
    return gram, float(size)


def _covariance(features: Tensor) -> tuple[Tensor, float]:
    """Product (p, p) of centred features in float64, and their squared norm before centring."""
    wide = features.double()
    centred = wide - wide.mean(0)
    return centred.T @ centred, float(wide.square().sum())
