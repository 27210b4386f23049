"""Two studies side by side: which cells differ, by how much, and what is in one alone.

A cell is a condition, by its labels, on one test metric. The sides of a cell that both have are
paired by seed: where replicates are the very same they do not differ; where only seeds are, the
difference is that of whatever else the two studies differ in. Without a shared seed there are two
means and no interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analysis import statistics
from analysis.cells import records
from analysis.contract import CONDITION_COLUMNS, Role, Status, is_rival
from analysis.schema import METRIC_PREFIX, frame_of
from analysis.schema.comparison import COMPARISON
from analysis.statistics import PairedDifference

if TYPE_CHECKING:
    import pandas as pd

LEGEND = (
    "Differences are second minus first, paired by seed, positive is better. Intervals are 95% "
    "Student t over seeds: where nothing differs, one in twenty excludes zero. An effect is "
    "against the baseline of its own study."
)
#: Columns that identify a condition of either study, whose name is its own.
AXES = (*(column for column in CONDITION_COLUMNS if column != "study"), "role")


class Outcome(StrEnum):
    """Outcome of a row of a comparison."""

    same = "same replicates"
    equal = "equal"
    differs = "differs"
    open = "not established"
    unpaired = "no shared seed"
    only_first = "only in the first"
    only_second = "only in the second"


class Tables(NamedTuple):
    """The tables of one study that a comparison reads."""

    replicates: pd.DataFrame
    transfer: pd.DataFrame


class _Key(NamedTuple):
    """One row of the comparison; `axes` are the values of `AXES`."""

    quantity: str
    axes: tuple[Any, ...]
    metric: str


class _Value(NamedTuple):
    """A value at one seed, and the ids of the replicates that it is of."""

    ids: tuple[str, ...]
    value: float


class _Metric(NamedTuple):
    higher_is_better: bool
    primary: bool


_Cells = dict[_Key, dict[int, _Value]]
_Metrics = dict[tuple[str, str], _Metric]


def comparison_table(first: Tables, second: Tables) -> pd.DataFrame:
    """A row for each condition and test metric of either study, in the order of the first.

    Its `quantity` is the `level`, or of guided conditions and controls also the `effect` against
    the baseline. Differences are second minus first, positive is better. Raises ValueError where a
    metric's direction is not the same in both.
    """
    metrics = _metrics(first.transfer)
    for (task, name), metric in _metrics(second.transfer).items():
        if metrics.setdefault((task, name), metric).higher_is_better != metric.higher_is_better:
            raise ValueError(f"task {task!r}: the studies differ in which {name} is better")
    sides = [_cells(tables, metrics) for tables in (first, second)]
    verdicts = [_verdicts(tables.transfer) for tables in (first, second)]
    rows = []
    for key in dict.fromkeys([*sides[0], *sides[1]]):
        metric = metrics[str(key.axes[0]), key.metric]
        one, two = (side.get(key, {}) for side in sides)
        words = {
            f"verdict_{side}": found.get((key.axes, key.metric))
            for side, found in zip(("first", "second"), verdicts, strict=True)
            if key.quantity == "effect"
        }
        rows.append(_row(key, metric, one, two) | words)
    return frame_of(rows, COMPARISON)


def _metrics(transfer: pd.DataFrame) -> _Metrics:
    columns = ["task", "metric", "higher_is_better", "primary"]
    found = records(transfer[columns].drop_duplicates())
    return {
        (row["task"], row["metric"]): _Metric(bool(row["higher_is_better"]), bool(row["primary"]))
        for row in found
    }


def _verdicts(transfer: pd.DataFrame) -> dict[tuple[tuple[Any, ...], str], str]:
    """Verdicts of guided rows and rivals, by condition and metric."""
    guided = records(transfer[transfer["control"] == "none"])
    return {
        ((*_axes(row), (Role.rival if is_rival(row) else Role.guided).value), row["metric"]): (
            row["verdict"]
        )
        for row in guided
    }


def _axes(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[column] for column in AXES if column != "role")


def _cells(tables: Tables, metrics: _Metrics) -> _Cells:
    """Values by row of the comparison and seed; rows without a finished seed are there, empty."""
    rows = records(tables.replicates)
    by_id = {row["replicate_id"]: row for row in rows if row["status"] == Status.finished}
    found: _Cells = {}
    for row in rows:
        axes = (*_axes(row), row["role"])
        for (task, metric), facts in metrics.items():
            if task != row["task"]:
                continue
            level = found.setdefault(_Key("level", axes, metric), {})
            value = _value(by_id, row["replicate_id"], metric)
            if value is not None:
                level[row["seed"]] = _Value((row["replicate_id"],), value)
            if row["role"] not in (Role.guided, Role.rival, Role.control):
                continue
            effect = found.setdefault(_Key("effect", axes, metric), {})
            baseline = _value(by_id, row["baseline_id"], metric)
            if value is not None and baseline is not None:
                gain = value - baseline if facts.higher_is_better else baseline - value
                effect[row["seed"]] = _Value((row["replicate_id"], row["baseline_id"]), gain)
    return found


def _value(by_id: Mapping[str, Mapping[str, Any]], name: str, metric: str) -> float | None:
    value = by_id.get(name, {}).get(f"{METRIC_PREFIX}{metric}")
    return None if value is None or not np.isfinite(value) else float(value)


def _row(
    key: _Key, metric: _Metric, one: Mapping[int, _Value], two: Mapping[int, _Value]
) -> dict[str, object]:
    """The row of two sides; their means are over the seeds that are paired, if there are any."""
    shared = [seed for seed in one if seed in two]
    # Of one id there are other numbers where it was trained on another type of processor.
    same = sum(one[seed] == two[seed] for seed in shared)
    means = [
        statistics.mean(np.array([side[seed].value for seed in shared or side], dtype=float))
        for side in (one, two)
    ]
    flipped = key.quantity == "level" and not metric.higher_is_better
    sides = (one, two) if flipped else (two, one)
    values = (np.array([side[seed].value for seed in shared], dtype=float) for side in sides)
    difference = statistics.paired_difference(*values)
    return {
        **dict(zip(AXES, key.axes, strict=True)),
        "metric": key.metric,
        "higher_is_better": metric.higher_is_better,
        "primary": metric.primary,
        "quantity": key.quantity,
        "n_first": len(one),
        "n_second": len(two),
        "n": len(shared),
        "n_same": same,
        "first": means[0],
        "second": means[1],
        "difference": difference.mean,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "p_value": difference.p_value,
        "outcome": _outcome(one, two, difference, all_same=same == len(shared)),
    }


def _outcome(
    one: Mapping[int, _Value],
    two: Mapping[int, _Value],
    difference: PairedDifference,
    *,
    all_same: bool,
) -> str | None:
    """The outcome; None where neither side has a result."""
    if not one or not two:
        only = {(True, False): Outcome.only_first, (False, True): Outcome.only_second}
        found = only.get((bool(one), bool(two)))
        return None if found is None else found.value
    if not difference.n:
        return Outcome.unpaired.value
    if all_same:
        return Outcome.same.value
    if all(one[seed].value == two[seed].value for seed in one if seed in two):
        return Outcome.equal.value
    sure = difference.positive or difference.negative
    return (Outcome.differs if sure else Outcome.open).value


def differing(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of conditions that both have and that are not the same; those that differ come first."""
    order = {Outcome.differs: 0, Outcome.open: 1, Outcome.unpaired: 2}
    rows = [row for row in records(table) if row["outcome"] in order]
    return sorted(rows, key=lambda row: order[row["outcome"]])


def condition(row: Mapping[str, Any]) -> str:
    """The condition of a row in words."""
    treatment = row["treatment"] if is_rival(row) else row["guide"]
    guide = f" ({row['role']})" if treatment is None else f" <- {treatment}"
    guide += " (rival)" if row["role"] == Role.rival else ""
    control = None if row["control"] == "none" else row["control"]
    parts = (row["state"], control, row["distance"], row["mapping"], row["schedule"])
    named = "".join(f", {part}" for part in parts if part is not None)
    return f"{row['task']}: {row['target']}{guide}{named}"


def counted(rows: Iterable[Mapping[str, Any]]) -> str:
    """How many conditions came out how, on their primary metric."""
    levels = [row for row in rows if row["primary"] and row["quantity"] == "level"]
    counts = Counter(row["outcome"] for row in levels if row["outcome"] is not None)
    shown = ", ".join(f"{counts[each]} {each.value}" for each in Outcome if counts[each])
    return f"{len(levels)} conditions on their primary metric: {shown or 'none has a result'}"
