"""Gram matrices of a frozen guide, which some distances take in place of its features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class GuideGrams:
    """Products between the rows of t guide taps, for the n rows of a batch.

    `grams` (t, n, n) are of the features less any one vector a tap, so that a mean that is large
    against the spread is gone before products are made; `sizes` (t, n) are the squared norms of the
    rows before, by which a tap without variance is known. Both are in any one unit a tap.
    """

    def __init__(self, grams: Tensor, sizes: Tensor) -> None:
        self.grams, self.sizes = grams, sizes
        self._projected: dict[bool, Tensor] = {}

    def taps(self, names: Sequence[str]) -> dict[str, GuideGram]:
        """What stands for the features of each tap."""
        return {name: GuideGram(self, index) for index, name in enumerate(names)}

    def projected(self, unbiased: bool) -> Tensor:
        """Centred (`unbiased`: U-centred) matrices (t, n, n) of norm 1, or 0 without variance."""
        from trainers.distances import constants
        from trainers.distances._grams import inverse_norms, project

        if unbiased not in self._projected:
            with constants():
                grams = self.grams.clone(memory_format=torch.contiguous_format)
                trace = project(grams, unbiased)
                inverse = inverse_norms(grams, trace, self.sizes.sum(-1), unbiased)
                self._projected[unbiased] = grams.mul_(inverse[..., None, None])
        return self._projected[unbiased]


@dataclass(frozen=True, eq=False)
class GuideGram:
    """One tap of `GuideGrams`."""

    all: GuideGrams
    index: int

    @property
    def shape(self) -> torch.Size:
        """(n, n): its rows are those of the features, its width is as good as any from n on."""
        return self.all.grams.shape[1:]
