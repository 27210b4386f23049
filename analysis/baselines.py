"""Other baselines of guided rows: one with equal compute, and both arms at best validation.

The matched baseline is the unguided target trained for as many floating-point operations as guided
training took: where guidance is not better than that, more steps do as well. At best validation
both arms are scored where their validation metric was best, which describes what early stopping
would have given; the result stays that of the last step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import statistics
from analysis.cells import Cell, Metric, TaskMetrics
from analysis.contract import TEST_AT_BEST, VALIDATION
from analysis.statistics import PairedDifference, Values
from analysis.verdict_words import AT_EQUAL_STEPS

if TYPE_CHECKING:
    import pandas as pd

#: Columns of the plan: ids of the baseline with the compute of guided training, and of the one with
#: that of the guide's own training, too.
MATCHED, MATCHED_FULL = "matched_id", "matched_full_id"

Row = dict[str, object]
Ids = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """Other baselines of a study's guided and control replicates.

    `matched` and `matched_full` hold the id of a baseline by that of a guided replicate, `flops`
    the operations of its training, `at_best` the test metrics of a replicate at its report of best
    validation.
    """

    matched: Ids
    matched_full: Ids
    flops: Mapping[str, float]
    at_best: Mapping[str, Mapping[str, float]]

    @classmethod
    def of(
        cls, replicates: pd.DataFrame, history: pd.DataFrame, tasks: Mapping[str, TaskMetrics]
    ) -> Baselines:
        """Those of a study, from its tables `replicates` and `history`."""
        return cls(
            matched=_known(replicates, MATCHED),
            matched_full=_known(replicates, MATCHED_FULL),
            flops=_known(replicates, "flops"),
            at_best=at_best_validation(replicates, history, tasks),
        )

    def added(self, row: Row, cell: Cell, metric: Metric) -> Row:
        """A row of `transfer` with the columns of this file, and its verdict in view of them.

        A matched baseline that was planned and lacks a seed of the row, because it failed or has
        not ended, leaves open what holds at equal compute: then only equal steps are claimed.
        """
        ids = [member.replicate_id for member in cell.members.values()]
        matched = _difference(metric, ids, self.matched)
        row = row | {"flops": next((self.flops[name] for name in ids if name in self.flops), None)}
        row |= _columns("matched", matched)
        row |= _columns("matched_full", _difference(metric, ids, self.matched_full))
        seeds = metric.shared(cell)
        row |= self._best(cell, metric, seeds)
        beaten = matched is None or (matched[1].positive and matched[1].n == len(seeds))
        if "helps" in str(row["verdict"]) and not beaten:
            row["verdict"] = f"{row['verdict']}{AT_EQUAL_STEPS}"
        return row

    def _best(self, cell: Cell, metric: Metric, seeds: Sequence[str]) -> Row:
        """Both arms at best validation; null unless every seed of the row has both.

        Seeds that happen to have them would be a choice of seeds.
        """
        guided = self._values(metric, [cell.members[seed].replicate_id for seed in seeds])
        baseline = self._values(metric, seeds)
        if not seeds or guided is None or baseline is None:
            return {}
        found = statistics.mean(baseline), metric.better(guided, baseline)
        columns = _columns("best", found) | {"guided_best": statistics.mean(guided)}
        del columns["best_n"]
        return columns

    def _values(self, metric: Metric, ids: Iterable[str]) -> Values | None:
        found = [self.at_best.get(name, {}).get(metric.name) for name in ids]
        return None if None in found else np.array(found, dtype=float)


def at_best_validation(
    replicates: pd.DataFrame, history: pd.DataFrame, tasks: Mapping[str, TaskMetrics]
) -> dict[str, dict[str, float]]:
    """Test metrics at the report of best validation, by replicate and metric.

    The best report is the first with the best value of the task's primary validation metric, that
    before the first step aside. Replicates whose test split was not scored there are absent.
    """
    scored = history[history["metric"].isin(_starting(history, TEST_AT_BEST))]
    if scored.empty:
        return {}
    tests: dict[str, dict[int, dict[str, float]]] = {}
    for name, step, metric, value in _points(scored):
        steps = tests.setdefault(name, {})
        steps.setdefault(step, {})[metric.removeprefix(TEST_AT_BEST)] = value
    best = _best_steps(replicates, history[history["replicate_id"].isin(tests.keys())], tasks)
    return {name: steps[best[name]] for name, steps in tests.items() if best.get(name) in steps}


def unscored(history: pd.DataFrame, replicates: Collection[str]) -> set[str]:
    """Those of some finished replicates whose test split was not scored at best validation.

    They were trained before that was asked for; it is not made up for, because a result in the
    store is not trained again.
    """
    scored = history[history["metric"].isin(_starting(history, TEST_AT_BEST))]
    return set(replicates) - set(scored["replicate_id"])


def _best_steps(
    replicates: pd.DataFrame, history: pd.DataFrame, tasks: Mapping[str, TaskMetrics]
) -> dict[str, int]:
    """The step of best validation, by replicate."""
    task_of = dict(zip(replicates["replicate_id"], replicates["task"], strict=True))
    names = {VALIDATION + task.primary_metric for task in tasks.values()}
    best: dict[str, tuple[float, int]] = {}
    validation = history[history["metric"].isin(names) & (history["step"] > 0)]
    for name, step, metric, value in sorted(_points(validation), key=lambda point: point[1]):
        task = tasks[task_of[name]] if name in task_of else None
        if task is None or metric != VALIDATION + task.primary_metric or not np.isfinite(value):
            continue
        signed = value if task.higher_is_better[task.primary_metric] else -value
        if name not in best or signed > best[name][0]:
            best[name] = signed, step
    return {name: step for name, (_, step) in best.items()}


def _points(history: pd.DataFrame) -> Iterable[tuple[str, int, str, float]]:
    columns = (history[name].tolist() for name in ("replicate_id", "step", "metric", "value"))
    return zip(*columns, strict=True)


def _starting(history: pd.DataFrame, prefix: str) -> list[str]:
    return [name for name in history["metric"].unique() if str(name).startswith(prefix)]


def _known(replicates: pd.DataFrame, column: str) -> dict[str, Any]:
    """Values of a column by replicate id, where there are any."""
    if column not in replicates:
        return {}
    found = replicates[replicates[column].notna()]
    return dict(zip(found["replicate_id"], found[column], strict=True))


def _difference(
    metric: Metric, ids: Iterable[str], baselines: Ids
) -> tuple[float | None, PairedDifference] | None:
    """Mean of the baselines, and guided minus these, over the seeds at which both finished.

    None where no baseline was planned.
    """
    planned = [(name, baselines[name]) for name in ids if name in baselines]
    if not planned:
        return None
    known = [pair for pair in planned if all(name in metric.values for name in pair)]
    guided, baseline = (metric.at(pair[side] for pair in known) for side in (0, 1))
    return statistics.mean(baseline), metric.better(guided, baseline)


def _columns(name: str, found: tuple[float | None, PairedDifference] | None) -> Row:
    if found is None:
        return {}
    mean, difference = found
    return {
        f"baseline_{name}": mean,
        f"difference_{name}": difference.mean,
        f"difference_{name}_low": difference.low,
        f"difference_{name}_high": difference.high,
        f"{name}_n": difference.n,
    }
