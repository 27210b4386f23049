"""Metrics of rules that are columns of the table `consistency`: `consistency.COLUMN[.WITH]`.

Needs neither NumPy nor pandas, so that a spec is read without them.
"""

from __future__ import annotations

from typing import NamedTuple

from analysis.errors import UserError, unknown

PREFIX = "consistency."
#: Columns that a rule may bound; those with an interval in the table have it in `..._low, _high`.
WITH_INTERVAL = ("kappa", "excess", "own")
COLUMNS = (*WITH_INTERVAL, "observed", "expected", "bound_low", "bound_high", "kappa_matched",
           "same_wrong")  # fmt: skip
#: Differences, which stand in rows with the guide alone.
_OF_GUIDE = ("excess", "own")
_GUIDED = ("guide", "other_guide", "baseline", "other_baseline")
#: Terms to the values of `with` that their rows have, the first by default; of others `_CONTROL`.
_OTHERS = {
    "trained": _GUIDED,
    "untrained": _GUIDED,
    "baseline": ("guide", "other_guide", "other_baseline"),
    "guide": ("other_guide",),
}
_CONTROL = (*_GUIDED, "control")


class ConsistencyMetric(NamedTuple):
    """A column of the table, and the value of `with` in the row."""

    column: str
    other: str


def is_consistency(metric: str | None) -> bool:
    """Whether a rule's metric is a column of the table `consistency`."""
    return metric is not None and metric.startswith(PREFIX)


def read(metric: str, term: str) -> ConsistencyMetric:
    """The column and row that a metric stands for, of a rule on a term; raises UserError."""
    column, dot, other = metric.removeprefix(PREFIX).partition(".")
    if column not in COLUMNS:
        raise unknown("column of consistency:", column, COLUMNS)
    allowed = _OTHERS.get(term, _CONTROL)
    if dot and other not in allowed:
        raise unknown(f"row of {term} in consistency: with", other, allowed)
    found = ConsistencyMetric(column, other if dot else allowed[0])
    if column in _OF_GUIDE and found.other != "guide":
        raise UserError(
            f"{metric} of {term}: rows with the guide alone have the column {column}; give "
            f"consistency.{column}, of a guided term"
        )
    if column == "excess" and term == "baseline":
        raise UserError("consistency.excess is measured from the baseline, which has none itself")
    return found
