"""Gram matrices of a frozen guide, which some distances take in place of its features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class GuideGrams:
    """Gram matrices of g guide taps for the n rows of a batch.

    `grams` (g, n, n) are products of the features less one vector per tap (such as the mean over
    the data set), so that a mean that is large relative to the spread costs no digits. `sizes` (g,)
    are the squared norms of the features before that, by which a tap without variance is
    recognised. The unit of both is arbitrary, and may differ between taps.
    """

    taps: Sequence[str]
    grams: Tensor
    sizes: Tensor
