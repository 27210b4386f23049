"""Gram matrices of a frozen guide, which some distances take in place of its features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class GuideGrams:
    """Products between the rows of g guide taps, for the n rows of a batch.

    `grams` (g, n, n) are of the features less any one vector a tap, so that a mean that is large
    against the spread is gone before products are made; `sizes` (g, n) are the squared norms of the
    rows before, by which a tap without variance is known. Both are in any one unit a tap.
    """

    def __init__(self, grams: Tensor, sizes: Tensor) -> None:
        self.grams, self.sizes = grams, sizes

    def taps(self, names: Sequence[str]) -> dict[str, GuideGram]:
        """What stands for the features of each tap."""
        return {name: GuideGram(self, index) for index, name in enumerate(names)}


@dataclass(frozen=True, eq=False)
class GuideGram:
    """One tap of `GuideGrams`."""

    all: GuideGrams
    index: int

    @property
    def shape(self) -> torch.Size:
        """(n, n): its rows are those of the features."""
        return self.all.grams.shape[1:]
