"""The cells of a study: replicates grouped into conditions, paired by their baselines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analysis.contract import Status
from analysis.schema import CONDITION_COLUMNS, METRIC_PREFIX, metrics_of
from analysis.statistics import PairedDifference, Values, paired_difference

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class TaskMetrics:
    """The test metrics of a task: metric to direction, and which one comes first."""

    primary_metric: str
    higher_is_better: Mapping[str, bool]

    @property
    def names(self) -> list[str]:
        """All metrics, the primary metric first, the rest in the task's order."""
        return sorted(self.higher_is_better, key=lambda name: name != self.primary_metric)


class Condition(NamedTuple):
    """The columns that describe a condition; what plays no part is None."""

    study: str
    task: str
    target: str
    guide: str | None
    state: str | None
    control: str | None
    distance: str | None
    mapping: str | None
    schedule: str | None
    alpha: float | None
    stop_step: int | None

    @property
    def is_control(self) -> bool:
        """Whether something replaces the guide."""
        return self.control != "none"

    @property
    def group(self) -> Condition:
        """The columns that a guided condition shares with its controls and its other state."""
        return self._replace(state=None, control=None)


class Member(NamedTuple):
    """One replicate of a cell and those it pairs with."""

    replicate_id: str
    baseline_id: str
    guide_id: str | None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """All planned replicates of one guided or control condition, by the id of their baseline."""

    condition: Condition
    num_pairs: int | None
    members: Mapping[str, Member]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One test metric: its direction, and its value at each finished replicate."""

    name: str
    higher_is_better: bool
    values: Mapping[str, float]

    def shared(self, *cells: Cell) -> list[str]:
        """Ids of baselines that have a value, as have their paired replicates in all cells."""
        return [
            baseline
            for baseline in cells[0].members
            if baseline in self.values
            and all(
                baseline in cell.members and cell.members[baseline].replicate_id in self.values
                for cell in cells
            )
        ]

    def at(self, replicates: Iterable[str]) -> Values:
        """Values `(n,)` of n replicates; KeyError where one has none."""
        return np.array([self.values[name] for name in replicates], dtype=float)

    def of(self, cell: Cell, baselines: Iterable[str]) -> Values:
        """Values `(n,)` of the cell's replicates that pair with these n baselines."""
        return self.at(cell.members[baseline].replicate_id for baseline in baselines)

    def better(self, first: Values, second: Values) -> PairedDifference:
        """Paired difference of two `(n,)` values; positive where `first` is better."""
        return paired_difference(*((first, second) if self.higher_is_better else (second, first)))

    def compare(self, first: Cell, second: Cell) -> PairedDifference:
        """Paired difference of two cells, over seeds at which both and their baseline finished."""
        seeds = self.shared(first, second)
        return self.better(self.of(first, seeds), self.of(second, seeds))

    def specifics(self, cell: Cell, controls: Iterable[Cell]) -> dict[str, PairedDifference]:
        """Paired differences of a guided cell and each control, by the control's name."""
        return {str(control.condition.control): self.compare(cell, control) for control in controls}


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The frame's rows as dictionaries; missing values are None."""
    plain = frame.astype(object)
    rows = plain.where(frame.notna(), None).to_dict("records")
    return [{str(column): value for column, value in row.items()} for row in rows]


def cells(replicates: pd.DataFrame) -> list[Cell]:
    """The guided and control cells of a `replicates` table, in its order.

    Raises ValueError when a condition has a seed twice: two replicates that the condition columns
    do not tell apart would be averaged as if they were one.
    """
    planned: dict[Condition, dict[int, Member]] = {}
    num_pairs: dict[Condition, int | None] = {}
    for row in records(replicates[replicates["role"].isin(["guided", "control"])]):
        condition = Condition(*(row[column] for column in CONDITION_COLUMNS))
        seeds = planned.setdefault(condition, {})
        member = Member(row["replicate_id"], row["baseline_id"], row["guide_id"])
        if row["seed"] in seeds:
            raise ValueError(
                f"seed {row['seed']} occurs twice in one condition, as replicates "
                f"{seeds[row['seed']].replicate_id} and {member.replicate_id}; give what differs "
                f"between them a label, or a study of its own: {condition}"
            )
        seeds[row["seed"]] = member
        num_pairs.setdefault(condition, row["num_pairs"])
    return [
        Cell(
            condition=condition,
            num_pairs=num_pairs[condition],
            members={member.baseline_id: member for member in seeds.values()},
        )
        for condition, seeds in planned.items()
    ]


def grouped(all_cells: Iterable[Cell]) -> dict[Condition, list[Cell]]:
    """Cells by the columns that they share, apart from state and control, in their order."""
    groups: dict[Condition, list[Cell]] = {}
    for cell in all_cells:
        groups.setdefault(cell.condition.group, []).append(cell)
    return groups


def controls_of(cell: Cell, group: Iterable[Cell]) -> list[Cell]:
    """The controls of a guided cell: of its state, or of none."""
    return [
        other
        for other in group
        if other.condition.is_control and other.condition.state in (None, cell.condition.state)
    ]


def guided_of(control: Cell, group: Iterable[Cell]) -> Cell | None:
    """The guided cell that a control is compared with, or None.

    It is the one of the same state; a control without a state belongs to both, and is compared
    with the trained guide where there is one, else with the untrained one.
    """
    state = control.condition.state
    guided = {cell.condition.state: cell for cell in group if not cell.condition.is_control}
    if state is not None:
        return guided.get(state)
    return guided.get("trained") or guided.get("untrained")


def least_beaten(
    specifics: Mapping[str, PairedDifference],
) -> tuple[str | None, PairedDifference]:
    """The control that a guided cell beats by least, and the difference: a conservative figure.

    `specifics` holds guided minus control by the control's name. One that shares no finished seed
    with the cell does not count; without any, (None, n = 0).
    """
    means = {name: result.mean for name, result in specifics.items() if result.mean is not None}
    if not means:
        return None, PairedDifference(n=0)
    least = min(means, key=means.__getitem__)
    return least, specifics[least]


def metric_values(
    replicates: pd.DataFrame, tasks: Mapping[str, TaskMetrics]
) -> dict[str, list[Metric]]:
    """Task to its metrics, each with the finite values of all finished replicates.

    Raises ValueError when a replicate's task is not in `tasks`.
    """
    for task in replicates["task"].unique():
        if task not in tasks:
            raise ValueError(f"the metrics of task {task!r} are not known ({', '.join(tasks)})")
    finished = replicates[replicates["status"] == Status.finished]
    values: dict[str, dict[str, float]] = {}
    for name in metrics_of(replicates.columns):
        known = finished[np.isfinite(finished[METRIC_PREFIX + name])]
        ids, numbers = known["replicate_id"], known[METRIC_PREFIX + name].tolist()
        values[name] = dict(zip(ids, numbers, strict=True))
    return {
        task: [
            Metric(
                name=name,
                higher_is_better=metrics.higher_is_better[name],
                values=values.get(name, {}),
            )
            for name in metrics.names
        ]
        for task, metrics in tasks.items()
    }
