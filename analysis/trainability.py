"""The `trainability` table: whether a target overfits, underfits or converges badly on a task.

Each is judged beside the guide, which shows what can be learnt: a target overfits where its gap
between training and test data lies above the guide's by its interval, and underfits where its
metric on training data lies below the guide's. It converges badly where seeds fail, or some succeed
and others do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from analysis import cells, failures, statistics, verdicts
from analysis.cells import Cell, Metric, TaskMetrics
from analysis.contract import TRAIN_SAMPLE
from analysis.mixture_labels import parts_of
from analysis.schema import frame_of, schema
from analysis.statistics import PairedDifference, Values

if TYPE_CHECKING:
    import pandas as pd

OVERFITS, UNDERFITS, CONVERGES_BADLY = "overfits", "underfits", "converges badly"
#: Verdict where nothing is shown, and where nothing was measured.
OPEN, UNKNOWN = "not established", "not known"

Row = dict[str, object]
#: Values on the training sample, by metric and replicate.
Sampled = Mapping[str, Mapping[str, float]]


def trainability_table(
    replicates: pd.DataFrame, history: pd.DataFrame, tasks: Mapping[str, TaskMetrics]
) -> pd.DataFrame:
    """One row for each target, task, guide and test metric of the task.

    Args:
        replicates: the `replicates` table, a row for each planned replicate.
        history: the `history` table, which holds the metrics on the training sample.
        tasks: task label to its metrics.

    Raises ValueError when a condition holds a seed twice or its task is not in `tasks`.
    """
    metrics = cells.metric_values(replicates, tasks)
    sampled = train_sample(history)
    budgets = {row["replicate_id"]: row["budget"] for row in cells.records(replicates)}
    rows = [
        _row(cell, _Measured(metric=metric, train=sampled.get(metric.name, {}), budgets=budgets))
        for cell in _targets(c for c in cells.cells(replicates) if not c.condition.is_rival)
        for metric in metrics[cell.condition.task]
    ]
    return frame_of(rows, schema("trainability"))


def train_sample(history: pd.DataFrame) -> Sampled:
    """Metrics on the fixed sample of the training data, at the last step that has them."""
    names = [name for name in history["metric"].unique() if str(name).startswith(TRAIN_SAMPLE)]
    found: dict[str, dict[str, float]] = {}
    for name, points in history[history["metric"].isin(names)].groupby("metric", sort=False):
        last = points.sort_values("step").drop_duplicates("replicate_id", keep="last")
        known = last[np.isfinite(last["value"])]
        values = dict(zip(known["replicate_id"], known["value"].tolist(), strict=True))
        found[str(name).removeprefix(TRAIN_SAMPLE)] = values
    return found


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """A metric on test data, and by replicate on the training sample; trials of its search."""

    metric: Metric
    train: Mapping[str, float]
    budgets: Mapping[str, int | None]

    def has(self, replicate: str | None) -> bool:
        return replicate in self.train and replicate in self.metric.values

    def train_of(self, replicates: Iterable[str]) -> Values:
        return np.array([self.train[name] for name in replicates], dtype=float)

    def gap_of(self, replicates: Iterable[str]) -> Values:
        """Training minus test, signed so that positive is better on training data."""
        names = list(replicates)
        gap = self.train_of(names) - self.metric.at(names)
        return gap if self.metric.higher_is_better else -gap


def _targets(all_cells: Iterable[Cell]) -> list[Cell]:
    """For each target, task and guide one cell with all pairs of a baseline and its guide alone.

    Several guides at once have no guide alone, and are left out.
    """
    found: dict[tuple[str | None, ...], Cell] = {}
    for cell in all_cells:
        condition = cell.condition
        if not any(member.guide_id for member in cell.members.values()):
            continue
        parts = parts_of(str(condition.guide))
        guide = parts[0].name if len(parts) == 1 else condition.guide
        key = (condition.study, condition.task, condition.target, guide)
        known = found.get(key)
        members = {**(known.members if known else {}), **cell.members}
        found[key] = replace(known or cell, members=members)
    return list(found.values())


def _row(cell: Cell, measured: _Measured) -> Row:
    metric, condition = measured.metric, cell.condition
    pairs = [(member.baseline_id, member.guide_id) for member in cell.members.values()]
    known = [(own, guide) for own, guide in pairs if guide is not None
             and measured.has(own) and measured.has(guide)]  # fmt: skip
    own, guides = [pair[0] for pair in known], [pair[1] for pair in known]
    gap = statistics.paired_difference(measured.gap_of(own), measured.gap_of(guides))
    train = metric.better(measured.train_of(own), measured.train_of(guides))
    num_failed = sum(baseline in metric.failed for baseline, _ in pairs)
    success = _success(cell, metric)
    found = {
        OVERFITS: None if gap.low is None else gap.positive,
        UNDERFITS: None if train.high is None else train.negative,
        CONVERGES_BADLY: _converges_badly(num_failed, success),
    }
    return {
        "study": condition.study,
        "task": condition.task,
        "target": condition.target,
        "guide": condition.guide,
        "metric": metric.name,
        "higher_is_better": metric.higher_is_better,
        "primary": metric.primary,
        "budget": measured.budgets[pairs[0][0]],
        "n": len(known),
        "n_failed": num_failed,
        **_levels("", measured, own),
        **_levels("guide_", measured, guides),
        **_difference("gap_difference", gap),
        **_difference("train_difference", train),
        "success": success,
        **{name.replace(" ", "_"): holds for name, holds in found.items()},
        "verdict": _verdict(found, primary=metric.primary),
    }


def _levels(prefix: str, measured: _Measured, replicates: Iterable[str]) -> Row:
    names = list(replicates)
    return {
        f"{prefix}train": statistics.mean(measured.train_of(names)),
        f"{prefix}test": statistics.mean(measured.metric.at(names)),
        f"{prefix}gap": statistics.mean(measured.gap_of(names)),
    }


def _difference(name: str, found: PairedDifference) -> Row:
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


def _success(cell: Cell, metric: Metric) -> float | None:
    """Part of the baselines that have ended and are better than the threshold of success."""
    threshold = failures.success_threshold(cell, metric)
    ended = [name for name in cell.members if name in metric.values or name in metric.failed]
    if threshold is None or not ended:
        return None
    sign = 1 if metric.higher_is_better else -1
    values = [metric.values[name] for name in ended if name in metric.values]
    return sum(sign * value > sign * threshold for value in values) / len(ended)


def _converges_badly(num_failed: int, success: float | None) -> bool | None:
    if num_failed:
        return True
    return None if success is None else 0 < success < 1


def _verdict(found: Mapping[str, bool | None], *, primary: bool) -> str:
    shown = [name for name, holds in found.items() if holds]
    nothing = UNKNOWN if found[OVERFITS] is None or found[UNDERFITS] is None else OPEN
    text = ", ".join(shown) or nothing
    return text if primary else verdicts.DESCRIPTIVE + text
