"""Paired differences, ratios of paired means, and p values adjusted over a family.

Everything is over seeds. Given one data set, it says how a result would vary if training were
repeated with other seeds, not with other data; where each seed draws its data, with both. What
cannot be computed is None, never 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

CONFIDENCE = 0.95
#: Fewest seeds with an interval.
MIN_SEEDS = 3
#: Values of the column `interval`, by the task's `data`.
INTERVALS = {
    "fixed": "95% Student t over seeds, given one data set",
    "per_seed": "95% Student t over seeds, each with its own data",
}
#: Value of the column `test`.
TEST = "two-sided paired t"

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """The mean of n paired differences, with Student's t interval and test.

    `standard_error` is that of the mean, `low` and `high` the interval's limits, `p_value` is
    two-sided, `effect_size` Hedges' g. All five are None for n < 3 or without spread: two values,
    and few values that happen to be equal, do not tell how much others would vary.
    """

    n: int
    mean: float | None = None
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    effect_size: float | None = None

    @property
    def positive(self) -> bool:
        """Whether the interval is above zero."""
        return self.low is not None and self.low > 0

    @property
    def negative(self) -> bool:
        """Whether the interval is below zero."""
        return self.high is not None and self.high < 0


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A ratio of means with Fieller's interval; None where it is not defined."""

    estimate: float | None = None
    low: float | None = None
    high: float | None = None


def paired_difference(first: Values, second: Values) -> PairedDifference:
    """`first - second`, both `(n,)` and paired by position, n >= 0."""
    difference = first - second
    n = len(difference)
    if n == 0:
        return PairedDifference(n=0)
    mean = float(difference.mean())
    if n < MIN_SEEDS:
        return PairedDifference(n=n, mean=mean)
    spread = float(difference.std(ddof=1))
    # Equal differences of decimal fractions differ in their last bits.
    rounding = 4 * np.finfo(np.float64).eps * float(np.abs([first, second]).max())
    if spread <= rounding:
        return PairedDifference(n=n, mean=mean)
    error = spread / math.sqrt(n)
    half_width = _critical_t(n - 1) * error
    return PairedDifference(
        n=n,
        mean=mean,
        standard_error=error,
        low=mean - half_width,
        high=mean + half_width,
        p_value=2 * float(special.stdtr(n - 1, -abs(mean) / error)),
        effect_size=_hedges(n - 1) * mean / spread,
    )


def intervals_of_means(
    n: npt.NDArray[np.int64], means: Values, spreads: Values, largest: Values
) -> tuple[Values, Values]:
    """Limits of Student's t intervals of k means, `(k,)` each; NaN where there is none.

    `n` values went into each mean, `spreads` are their standard deviations (n - 1), `largest` the
    largest of their absolute values. The intervals are those of `paired_difference` with zeros.
    """
    rounding = 4 * np.finfo(np.float64).eps * largest
    known = (n >= MIN_SEEDS) & (spreads > rounding)
    half_widths = np.full(len(n), np.nan)
    degrees = n[known] - 1
    critical = special.stdtrit(degrees, (1 + CONFIDENCE) / 2)
    half_widths[known] = critical * spreads[known] / np.sqrt(n[known])
    return means - half_widths, means + half_widths


def ratio_of_means(numerator: Values, denominator: Values) -> Ratio:
    """`mean(numerator) / mean(denominator)` of paired values, both `(n,)`.

    Fieller's interval (Fieller 1954, J. R. Stat. Soc. B 16) holds every ratio r for which a t test
    does not reject `mean(numerator - r * denominator) = 0`. With means a, b and with estimated
    (co)variances of these means v_aa, v_bb, v_ab, and t the critical value at n - 1 degrees of
    freedom, these are the r with

        (b^2 - t^2 v_bb) r^2 - 2 (a b - t^2 v_ab) r + (a^2 - t^2 v_aa) <= 0.

    The first coefficient is positive, and the interval bounded, exactly if the denominator's own
    interval excludes zero. We ask for more: that it is above zero. Otherwise, and where the
    denominator has no interval (n < 3, or no spread), there is no ratio to speak of: all is None.
    """
    n = len(denominator)
    if not paired_difference(denominator, np.zeros(n)).positive:
        return Ratio()
    a, b = float(numerator.mean()), float(denominator.mean())
    t = _critical_t(n - 1)
    scaled = np.cov(numerator, denominator) * (t * t / n)
    v_aa, v_ab, v_bb = float(scaled[0, 0]), float(scaled[0, 1]), float(scaled[1, 1])
    square, half_linear, constant = b * b - v_bb, a * b - v_ab, a * a - v_aa
    root = math.sqrt(max(0.0, half_linear * half_linear - square * constant))
    return Ratio(
        estimate=a / b, low=(half_linear - root) / square, high=(half_linear + root) / square
    )


def adjust(p_values: Values) -> Values:
    """Benjamini-Hochberg adjusted p values `(n,)` of one family; NaN stays and does not count.

    The family is the guided rows of a study's primary metrics: a table that is scanned for cells
    worth a closer look, where the share of false finds is what matters, not that there is none at
    all (Holm). The rows share baselines, so their differences are positively dependent: the kind
    of dependence under which Benjamini-Hochberg keeps its level (Benjamini and Yekutieli 2001,
    Ann. Stat. 29; proven for one-sided tests). Only `verdict_adjusted` uses it, not `verdict`.
    """
    # It takes half a second and 50 MB, and is not needed to print a table.
    from scipy import stats

    adjusted = p_values.copy()
    known = np.isfinite(p_values)
    if known.any():
        adjusted[known] = stats.false_discovery_control(p_values[known], method="bh")
    return adjusted


def mean(values: Values) -> float | None:
    """Mean; None if empty."""
    return float(values.mean()) if len(values) else None


def finite(value: float | None) -> float | None:
    """The value; None if it is missing or not finite."""
    return float(value) if value is not None and np.isfinite(value) else None


def _critical_t(degrees_of_freedom: int) -> float:
    return float(special.stdtrit(degrees_of_freedom, (1 + CONFIDENCE) / 2))


def _hedges(degrees_of_freedom: int) -> float:
    """Hedges' exact correction (1981, J. Educ. Stat. 6, eq. 6e); it is 0 at one degree."""
    half = degrees_of_freedom / 2
    return math.exp(math.lgamma(half) - math.lgamma(half - 0.5)) / math.sqrt(half)
