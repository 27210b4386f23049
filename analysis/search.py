"""The tables of a search: every trial, what it chose, and the expected best of each budget."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from analysis.cells import TaskMetrics, records
from analysis.contract import CONDITION_COLUMNS, VALIDATION, Status
from analysis.schema import frame_of, schema
from analysis.statistics import Values

if TYPE_CHECKING:
    import pandas as pd

#: Columns that identify an arm.
ARM = (*CONDITION_COLUMNS, "role", "metric", "higher_is_better")

Row = Mapping[str, Any]


class Tried(Protocol):
    """The outcome of a candidate."""

    @property
    def status(self) -> str:
        """Its status."""

    @property
    def validation(self) -> Mapping[str, float] | None:
        """Validation metrics at the last step, by full name."""


def search_table(
    candidates: Iterable[Row],
    planned: Iterable[Row],
    outcomes: Mapping[str, Tried],
    tasks: Mapping[str, TaskMetrics],
) -> pd.DataFrame:
    """One row for each trial of each arm.

    Args:
        candidates: rows of the plan's table of role `candidate`.
        planned: all other rows of it; those of searched conditions say which trial was chosen.
        outcomes: outcomes of candidates by id; one that is absent is missing.
        tasks: task label to its metrics.
    """
    chosen = {(_arm(row), row["trial"]) for row in planned if row.get("trial") is not None}
    trials: dict[Any, list[Row]] = {}
    for row in candidates:
        if row["trial"] is not None:
            trials.setdefault((_arm(row), row["trial"]), []).append(row)
    rows = [
        _trial_row(members, outcomes, tasks, chosen=key in chosen)
        for key, members in trials.items()
    ]
    return frame_of(rows, schema("search"))


def _arm(row: Row) -> tuple[Any, ...]:
    return (*(row[column] for column in CONDITION_COLUMNS), row["arm"])


def _trial_row(
    members: Sequence[Row],
    outcomes: Mapping[str, Tried],
    tasks: Mapping[str, TaskMetrics],
    *,
    chosen: bool,
) -> dict[str, object]:
    first = members[0]
    metric = first["select"]
    found = {row["seed"]: _value(outcomes.get(row["replicate_id"]), metric) for row in members}
    values = [value for _, value in found.values() if value is not None]
    status = _status([status for status, _ in found.values()])
    return {
        **{column: first[column] for column in CONDITION_COLUMNS},
        "role": first["arm"],
        "metric": metric,
        "higher_is_better": tasks[first["task"]].higher_is_better[metric.removeprefix(VALIDATION)],
        **{column: first[column] for column in ("budget", "trial", "batch", "point")},
        "status": status,
        "value": float(np.mean(values)) if status == Status.finished else None,
        "values": json.dumps({str(seed): value for seed, (_, value) in found.items()}),
        "replicate_ids": json.dumps({str(row["seed"]): row["replicate_id"] for row in members}),
        "chosen": chosen,
    }


def _value(outcome: Tried | None, metric: str) -> tuple[str, float | None]:
    """Status and value of a candidate; one that has no finite value has failed."""
    if outcome is None:
        return Status.missing, None
    value = (outcome.validation or {}).get(metric)
    if outcome.status != Status.finished:
        failed = outcome.status in (Status.failed, Status.blocked)
        return (Status.failed if failed else Status.missing), None
    finite = value is not None and np.isfinite(value)
    return (Status.finished, value) if finite else (Status.failed, None)


def _status(statuses: Sequence[str]) -> str:
    for status in (Status.missing, Status.failed):
        if status in statuses:
            return status.value
    return Status.finished.value


def budget_curve(search: pd.DataFrame) -> pd.DataFrame:
    """The expected best of b trials for b = 1..B, for each arm whose trials have all ended."""
    rows: list[dict[str, object]] = []
    for _, trials in search.groupby(list(ARM), sort=False, dropna=False):
        if len(trials) < trials["budget"].iloc[0] or (trials["status"] == Status.missing).any():
            continue
        first = records(trials.iloc[:1])[0]
        values = trials["value"].to_numpy(dtype=float)
        curve = expected_best(values, higher_is_better=first["higher_is_better"])
        for b, (mean, deviation) in enumerate(curve, 1):
            row = {column: first[column] for column in ARM}
            rows.append(
                {**row, "trials": len(trials), "b": b, "expected": mean, "deviation": deviation}
            )
    return frame_of(rows, schema("budget_curve"))


def expected_best(
    values: Values, *, higher_is_better: bool
) -> Iterator[tuple[float | None, float | None]]:
    """Mean and standard deviation of the best of b = 1..n values, drawn with replacement.

    In closed form: the best of b is at most v with probability F(v)^b, F the empirical distribution
    of the n `values` (n,) (Dodge et al. 2019, Show Your Work, equation 7). Values that are nan
    count as the worst of the others; all nan gives None.
    """
    sign = 1.0 if higher_is_better else -1.0
    signed = sign * values
    finite = signed[np.isfinite(signed)]
    if not len(finite):
        yield from [(None, None)] * len(values)
        return
    ordered = np.sort(np.where(np.isfinite(signed), signed, finite.min()))
    below = np.arange(len(ordered) + 1) / len(ordered)
    for b in range(1, len(ordered) + 1):
        weights = np.diff(below**b)
        mean = float(weights @ ordered)
        spread = math.sqrt(max(float(weights @ (ordered - mean) ** 2), 0.0))
        yield sign * mean, spread


def with_tuning(
    rows: Iterable[Mapping[str, object]], replicates: pd.DataFrame
) -> list[dict[str, object]]:
    """Rows of guided and control conditions with the columns `tuned`, `budget` and `chosen`.

    `replicates` is the `replicates` table, a row for each planned replicate.
    """
    known = {
        tuple(row[column] for column in CONDITION_COLUMNS): (row["budget"], row["chosen"])
        for row in records(replicates)
    }
    found = []
    for row in rows:
        budget, chosen = known[tuple(row[column] for column in CONDITION_COLUMNS)]
        found.append({**row, "tuned": budget is not None, "budget": budget, "chosen": chosen})
    return found
