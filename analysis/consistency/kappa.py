"""Cohen's kappa of the correctness of two networks, from the shares that decide it.

Two networks answer the same N examples. `first` and `second` are their accuracies, `both` the share
of examples that both answer right; each is a number or an array of any common shape. Where a side
is right on all examples, or on none, its correctness does not vary and nothing can be said of its
agreement: kappa and its bounds are NaN there. (Expected agreement is 1 only in such cases.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.float64]


def observed(first: Reals, second: Reals, both: Reals) -> Reals:
    """Share of examples that both answer right or both answer wrong."""
    return 1 - first - second + 2 * both


def expected(first: Reals, second: Reals) -> Reals:
    """The same share for independent networks of these accuracies."""
    return first * second + (1 - first) * (1 - second)


def kappa(first: Reals, second: Reals, both: Reals) -> Reals:
    """(observed - expected) / (1 - expected); NaN where a side is always or never right.

    Written as 2 (both - first second) / (first + second - 2 first second), which is the same.
    """
    chance = first * second
    result = np.full(chance.shape, np.nan)
    parts = 2 * (both - chance), first + second - 2 * chance
    np.divide(*parts, out=result, where=_varies(first, second))
    return result


def bounds(first: Reals, second: Reals) -> tuple[Reals, Reals]:
    """Least and greatest kappa at these accuracies (Geirhos et al. 2020, appendix A)."""
    least, greatest = np.abs(first + second - 1), 1 - np.abs(first - second)
    return _above_chance(least, first, second), _above_chance(greatest, first, second)


def kappa_at_matched_accuracy(first: Reals, second: Reals, both: Reals) -> Reals:
    """Mean kappa after right answers of the better side were made wrong until accuracies agree.

    Drawn at random without replacement: every right answer of the better side is kept with
    probability worse / better, so `both` shrinks by this factor on average. At fixed accuracies
    kappa is linear in `both`, so this is the mean over all draws, without drawing any.
    """
    worse, better = np.minimum(first, second), np.maximum(first, second)
    kept = np.divide(worse, better, out=np.full_like(better, np.nan), where=better > 0)
    return np.where(_varies(first, second), kappa(worse, worse, both * kept), np.nan)


def _above_chance(agreement: Reals, first: Reals, second: Reals) -> Reals:
    chance = expected(first, second)
    result = np.full(chance.shape, np.nan)
    np.divide(agreement - chance, 1 - chance, out=result, where=_varies(first, second))
    return result


def _varies(first: Reals, second: Reals) -> npt.NDArray[np.bool_]:
    """Whether the correctness of both sides varies over the examples."""
    return (first > 0) & (first < 1) & (second > 0) & (second < 1)
