"""Gram matrices of a frozen guide, which some distances take in place of its features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class GuideGrams:
    """Products between the rows of g guide taps, for the n rows of a batch.

    `grams` (g, n, n) are of the features less any one vector a tap, so that a mean that is large
    against the spread is gone before products are made; `sizes` (g,) are the squared norms of the
    features before, by which a tap without variance is known. Both are in any one unit a tap.
    """

    taps: Sequence[str]
    grams: Tensor
    sizes: Tensor
