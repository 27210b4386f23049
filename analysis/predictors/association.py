"""Does a property of guides go with what they hand over? Over guides, never over cells.

Cells of one guide share it, and those of one target share that. So each target's values are taken
less their mean over guides (which target gains most is another question), draws and permutations
are of whole guides, and predictions are of a guide that was left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import special, stats

from analysis.consistency.bootstrap import interval
from analysis.statistics import CONFIDENCE, PairedDifference, Values, paired_difference

#: Fewest guides of which a verdict is given: of four, no two-sided p is below 2/24.
MIN_GUIDES = 5
#: Fewest guides that a correlation or a prediction is over, the one that is left out not counted.
MIN_OTHERS = 3
#: Most permutations of guides; where there are fewer, all are used. Bootstrap draws of guides.
PERMUTATIONS, DRAWS = 10_000, 2000
#: Seed of the permutations and of the draws; number of them in memory.
SEED = 1904
_AT_ONCE = 200

HIGHER, LOWER = "higher teaches better", "lower teaches better"
#: Verdicts where nothing is shown; the other two where nothing could be.
OPEN, TOO_FEW = "not established", "not established, too few guides"
CONSTANT = "not established, no variation"
#: Verdicts that say nothing on whether a property tells the better guide.
UNTOLD = (TOO_FEW, CONSTANT)


@dataclass(frozen=True, kw_only=True)
class Association:
    """Spearman's correlation over the cells of G guides and T targets; None where undefined.

    `low` and `high` are the 2.5th and the 97.5th percentile over bootstrap draws of guides,
    `p_value` is two-sided, by permutations of guides, `left_out` the smallest and the largest
    correlation with one guide left out.
    """

    correlation: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    permutations: int | None = None
    left_out: tuple[float | None, float | None] = (None, None)
    num_guides: int

    @property
    def verdict(self) -> str:
        """One of those above: by interval and p value together."""
        if self.num_guides < MIN_GUIDES:
            return TOO_FEW
        if self.correlation is None:
            return CONSTANT
        if self.p_value is None or self.p_value > 1 - CONFIDENCE:
            return OPEN
        if self.low is not None and self.low > 0:
            return HIGHER
        return LOWER if self.high is not None and self.high < 0 else OPEN


class Predicted(NamedTuple):
    """Predictions `(G, T)` of differences, each from the other guides, NaN where there is none.

    `low` and `high` are the limits of 95% prediction intervals.
    """

    values: Values
    low: Values
    high: Values


def association(x: Values, y: Values) -> Association:
    """The correlation of a property `x` `(G, T)` with differences `y` `(G, T)`."""
    num_guides = len(x)
    found = _correlation(x, y) if num_guides >= MIN_OTHERS and x.size else math.nan
    if not math.isfinite(found):
        return Association(num_guides=num_guides)
    guides = np.arange(num_guides)
    drawn = np.random.default_rng(SEED).integers(num_guides, size=(DRAWS, num_guides))
    parts = np.array_split(drawn, DRAWS // _AT_ONCE)
    low, high = interval(np.concatenate([_correlation(x[part], y[part]) for part in parts]))
    test = _permuted(x, y)
    others = [np.delete(guides, guide) for guide in guides] if num_guides > MIN_OTHERS else []
    without = [float(_correlation(x[rest], y[rest])) for rest in others]
    known = [value for value in without if math.isfinite(value)]
    return Association(
        correlation=float(found),
        low=low,
        high=high,
        p_value=float(test.pvalue),
        permutations=len(test.null_distribution),
        left_out=(min(known), max(known)) if known else (None, None),
        num_guides=num_guides,
    )


def _permuted(x: Values, y: Values) -> Any:
    """SciPy's result of a permutation test of the correlation, whole guides permuted."""
    # A permutation of guides changes no mean over them, so it permutes ranks.
    first, second = (ranks - ranks.mean() for ranks in (_ranks(x), _ranks(y)))
    by_guide = first.reshape(x.shape) / np.linalg.norm(first)
    fixed = second / np.linalg.norm(second)

    def correlation(guides: Values, axis: int = -1) -> Values:
        order = np.moveaxis(guides, axis, -1).astype(np.intp)
        result: Values = by_guide[order].reshape(*order.shape[:-1], -1) @ fixed
        return result

    return stats.permutation_test(
        (np.arange(len(x)),), correlation, vectorized=True, permutation_type="pairings",
        n_resamples=PERMUTATIONS, batch=_AT_ONCE, rng=np.random.default_rng(SEED),
    )  # fmt: skip


def _correlation(x: Values, y: Values) -> Values:
    """Spearman's correlation `(...)` of `(..., G, T)` less targets' means; NaN where constant."""
    ranks = [_ranks(v) for v in (x, y)]
    varies = np.logical_and(*(np.ptp(v, axis=-1) > 0 for v in ranks))
    found = np.full(varies.shape, np.nan)
    if varies.any():
        found[varies] = stats.pearsonr(*(v[varies] for v in ranks), axis=-1).statistic
    return found


def _ranks(values: Values) -> Values:
    """Ranks `(..., G * T)` of `(..., G, T)` less the mean of each target over guides."""
    centred = values - values.mean(-2, keepdims=True)
    ranks: Values = stats.rankdata(centred.reshape(*values.shape[:-2], -1), axis=-1)
    return ranks


def predictions(x: Values, y: Values) -> Predicted:
    """Differences `y` of each guide by the line through those of the others, target by target.

    Ordinary least squares of the G - 1 other guides at the same target, with Student's t prediction
    interval of a new one (Draper and Smith 1998, Applied Regression Analysis, section 3.1).
    """
    found = Predicted(*(np.full(x.shape, np.nan) for _ in Predicted._fields))
    for guide, target in np.ndindex(*x.shape):
        others = np.arange(len(x)) != guide
        known, observed = x[others, target], y[others, target]
        if len(known) < MIN_OTHERS or not np.ptp(known):
            continue
        line = stats.linregress(known, observed)
        value = x[guide, target]
        found.values[guide, target] = line.intercept + line.slope * value
        n, away = len(known), value - known.mean()
        residual = line.stderr**2 * ((known - known.mean()) ** 2).sum()
        error = math.sqrt(residual * (1 + 1 / n) + (line.stderr * away) ** 2)
        half = float(special.stdtrit(n - 2, (1 + CONFIDENCE) / 2)) * error
        found.low[guide, target] = found.values[guide, target] - half
        found.high[guide, target] = found.values[guide, target] + half
    return found


def error_reduction(y: Values, predicted: Values) -> PairedDifference:
    """By how much predictions err less than the mean of the other guides, with its interval.

    Absolute errors of a guide that was left out, mean over targets; Student's t over guides. Those
    of two guides share all but two guides, so that the interval is approximate.
    """
    num_guides = len(y)
    if not y.size or not np.isfinite(predicted).all():
        return PairedDifference(n=0)
    mean_of_others = (y.sum(0) - y) / (num_guides - 1)
    plain, informed = (np.abs(y - each).mean(1) for each in (mean_of_others, predicted))
    return paired_difference(plain, informed)
