"""Rows of the table `consistency` that terms of rules stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.cells import records
from analysis.errors import UserError
from analysis.expectations.consistency_metric import WITH_INTERVAL, ConsistencyMetric
from analysis.expectations.rules import Term
from analysis.expectations.terms import DESCRIBED, Selected

if TYPE_CHECKING:
    import pandas as pd

Key = tuple[Any, ...]


class Found(NamedTuple):
    """A value of a row, its interval if the table has one, and the number of seeds."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class Consistencies:
    """Values of the table `consistency` by condition and other side."""

    def __init__(self, consistency: pd.DataFrame) -> None:
        self._rows = {(*map(row.get, DESCRIBED), row["with"]): row for row in records(consistency)}

    def of(self, term: Term, selected: Selected, metric: ConsistencyMetric) -> Found:
        """The value of a term. Raises UserError where a baseline has several guides."""
        row = self._rows.get((*_key(term, selected, metric), metric.other))
        if row is None:
            return Found(None, None, None, 0)
        low, high = (
            row[metric.column + end] if metric.column in WITH_INTERVAL else None
            for end in ("_low", "_high")
        )
        return Found(row[metric.column], low, high, row["n"])


def _key(term: Term, selected: Selected, metric: ConsistencyMetric) -> Key:
    """Values of `DESCRIBED` in the term's row: baselines and guides have no guidance there."""
    first = next(iter(selected.rows.values()))
    if not term.unguided:
        return tuple(map(first.get, DESCRIBED))
    known = {"task": first["task"], "target": first["target"]}
    if term.name == "baseline" and metric.other != "other_baseline":
        guides = list(dict.fromkeys(str(row["guide"]) for row in selected.hosts))
        if len(guides) > 1:
            raise UserError(
                f"{term}: its consistency with which guide ({' | '.join(guides)})? Say so in "
                "braces, as in baseline {guide: LABEL}"
            )
        known["guide"] = guides[0]
    return tuple(known.get(column) for column in DESCRIBED)
