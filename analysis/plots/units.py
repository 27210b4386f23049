"""Units of figures, which are those of the report: accuracies in percent, differences in points."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from analysis.plots.style import interval, missing, number
from analysis.quantities import PERCENT, PLAIN, POINTS, Unit, unit_of, with_interval
from analysis.schema import schema

if TYPE_CHECKING:
    import pandas as pd

#: Columns with an interval that are not in the unit of a metric.
_RATIOS = ("gap_closed",)
#: Columns of `transfer` with values of a metric.
_LEVELS = (
    "guided", "guided_median", "guided_best", "baseline", "baseline_median", "baseline_best",
    "baseline_matched", "baseline_matched_full", "guide_alone", "chance", "success_threshold",
    "shuffled", "input", "labels", "labels_all", "class_shuffled", "reversed", "self",
)  # fmt: skip
#: Columns with differences of values that have no interval.
_SPREADS = ("guided_spread", "baseline_spread", "margin")


def unit_of_column(column: str, metric: str) -> Unit:
    """The unit in which a column of `transfer`, `priors` or `dials` is shown for a metric."""
    if unit_of(metric) is not POINTS or column in _RATIOS:
        return PLAIN
    if column in _LEVELS:
        return PERCENT
    known = {name for table in ("transfer", "priors", "dials") for name in schema(table).names}
    return POINTS if f"{column}_low" in known or column in _SPREADS else PLAIN


def unit_of_level(metric: str) -> Unit:
    """The unit in which values of a metric are shown: percent of accuracies."""
    return PERCENT if unit_of(metric) is POINTS else PLAIN


def in_unit(rows: pd.DataFrame, column: str, unit: Unit) -> pd.DataFrame:
    """Rows with a column and its limits in a unit."""
    there = [c for c in (column, f"{column}_low", f"{column}_high") if c in rows.columns]
    if unit.scale == 1 or rows.empty:
        return rows
    return rows.assign(**{name: rows[name].astype(float) * unit.scale for name in there})


def with_unit(name: str, unit: Unit) -> str:
    """A name of an axis with its unit, if it has one."""
    return f"{name}, {unit.word}" if unit.word else name


def amount(value: Any, low: Any, high: Any, unit: Unit, *, signed: bool) -> tuple[str, str]:
    """A number that is in a unit, and its interval, as a person reads them.

    The interval is empty where there is none; a missing number is `–`.
    """
    if not unit.word or missing(value):
        return number(value, signed=signed), interval(low, high, signed=signed)
    limits = () if missing(low) or missing(high) else (float(low), float(high))
    shown = replace(unit, scale=1.0)
    text = with_interval(float(value), *limits, unit=shown, signed=signed, worded=False)
    mean, _, rest = text.replace("-", "−").partition(" ")
    return mean, rest
