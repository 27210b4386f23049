"""The cells of a study: replicates grouped into conditions, paired by their baselines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analysis.contract import CONDITION_COLUMNS, REQUIRED_CONTROLS, Role, Status, is_rival
from analysis.mixture_labels import is_plain, states_of
from analysis.schema import METRIC_PREFIX, metrics_of
from analysis.statistics import PairedDifference, Values, paired_difference

if TYPE_CHECKING:
    import pandas as pd

#: The control that shows the guide's place one-hot labels, at the last pair alone; and at all.
LABELS, LABELS_ALL = "labels", "labels(at=all)"
#: Roles of conditions that are compared with a baseline.
_TREATED = (Role.guided, Role.control, Role.rival)
#: Columns of `replicates` that cells are made of, beside those of conditions.
_OF_CELLS = ("replicate_id", "baseline_id", "guide_id", "seed", "num_pairs", REQUIRED_CONTROLS)
#: Controls of trained guides alone.
_OF_TRAINED = (LABELS, LABELS_ALL, "class_shuffled")


@dataclass(frozen=True, kw_only=True)
class TaskMetrics:
    """The test metrics of a task: metric to direction, and which one comes first.

    `chance` holds the score of a guess, by metric; metrics whose chance is not known are absent.
    `data` is `fixed` where all seeds share one data set, `per_seed` where each draws its own.
    `answers` is `classes`, which are right or wrong, or `values`.
    """

    primary_metric: str
    higher_is_better: Mapping[str, bool]
    chance: Mapping[str, float] = field(default_factory=dict)
    data: str = "fixed"
    answers: str = "classes"

    @property
    def names(self) -> list[str]:
        """All metrics, the primary metric first, the rest in the task's order."""
        return sorted(self.higher_is_better, key=lambda name: name != self.primary_metric)


class Condition(NamedTuple):
    """The columns that describe a condition; what plays no part is None."""

    study: str
    task: str
    target: str
    treatment: str | None
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
        """Whether something replaces the guide, or the prior of a rival."""
        return self.control != "none"

    @property
    def is_rival(self) -> bool:
        """Whether a rival, or a control of one, treats the target."""
        return is_rival({"treatment": self.treatment})

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
    """All planned replicates of a guided, rival or control condition, by their baseline's id.

    `required_controls` are the labels of the controls that a condition has to beat before its
    effect is that of its guide or prior; empty for controls, and for rivals with neither.
    """

    condition: Condition
    num_pairs: int | None
    members: Mapping[str, Member]
    required_controls: tuple[str, ...] = ()

    def comparable(self, control: Cell) -> bool:
        """Whether a control has as many pairs, or is the one for which that is not asked."""
        if control.condition.control == LABELS or None in (self.num_pairs, control.num_pairs):
            return True
        return self.num_pairs == control.num_pairs


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One test metric of a task: its direction, and its value at each finished replicate.

    `failed` are the replicates that ended without a value: failed, blocked by a failed guide, or
    finished with a value that is not finite. `chance` is the score of a guess; None if unknown.
    `data` as in `TaskMetrics`.
    """

    name: str
    higher_is_better: bool
    values: Mapping[str, float]
    primary: bool = True
    failed: frozenset[str] = frozenset()
    chance: float | None = None
    data: str = "fixed"

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
        """Paired differences of a guided cell and each comparable control, by its label."""
        return {
            str(control.condition.control): self.compare(cell, control)
            for control in controls
            if cell.comparable(control)
        }


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The frame's rows as dictionaries; missing values are None."""
    names = [str(column) for column in frame.columns]
    return [dict(zip(names, row, strict=True)) for row in _values(frame)]


def _values(frame: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """The values of each row; missing ones are None."""
    # Column by column: `to_dict` looks at the type of each value, and leaves missing ones.
    missing: Any = None  # Allowed, though the type stubs do not say so.
    columns = (column.to_numpy(dtype=object, na_value=missing) for _, column in frame.items())
    return zip(*(column.tolist() for column in columns), strict=True)


def cells(replicates: pd.DataFrame) -> list[Cell]:
    """The guided, rival and control cells of a `replicates` table, in its order.

    Raises ValueError when a condition has a seed twice: two replicates that the condition columns
    do not tell apart would be averaged as if they were one.
    """
    planned: dict[Condition, dict[int, Member]] = {}
    num_pairs: dict[Condition, int | None] = {}
    required: dict[Condition, tuple[str, ...]] = {}
    treated = replicates[replicates["role"].isin(_TREATED)]
    conditions = map(Condition._make, _values(treated[list(CONDITION_COLUMNS)]))
    others = treated[[column for column in _OF_CELLS if column in treated]]
    for condition, row in zip(conditions, records(others), strict=True):
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
        if not condition.is_control:
            planned_controls = row.get(REQUIRED_CONTROLS)
            wanted = standard_controls(condition) if planned_controls is None else planned_controls
            required.setdefault(condition, tuple(wanted))
    return [
        Cell(
            condition=condition,
            num_pairs=num_pairs[condition],
            members={member.baseline_id: member for member in seeds.values()},
            required_controls=required.get(condition, ()),
        )
        for condition, seeds in planned.items()
    ]


def grouped(all_cells: Iterable[Cell]) -> dict[Condition, list[Cell]]:
    """Cells by the columns that they share, apart from state and control, in their order."""
    groups: dict[Condition, list[Cell]] = {}
    for cell in all_cells:
        groups.setdefault(cell.condition.group, []).append(cell)
    return groups


def guided_groups(all_cells: Iterable[Cell]) -> list[dict[tuple[str, str], Cell]]:
    """Guided cells that differ in guide and target alone, by (guide, target).

    Mixtures, and guides with a weight, are not among them.
    """
    groups: dict[Condition, dict[tuple[str, str], Cell]] = {}
    for cell in all_cells:
        condition = cell.condition
        guided = not condition.is_control and not condition.is_rival
        if guided and is_plain(condition.guide):
            key = condition._replace(target="", guide=None)
            groups.setdefault(key, {})[str(condition.guide), condition.target] = cell
    return list(groups.values())


def standard_controls(condition: Condition) -> tuple[str, ...]:
    """Labels of the controls that a condition requires where its plan does not say.

    Plans without the column `required_controls` are older than the control `labels`.
    """
    if condition.is_rival:
        return ()
    if str(condition.distance).startswith("distillation"):
        return ("shuffled", "uniform")
    return ("shuffled", "input", LABELS) if condition.state == "trained" else ("shuffled", "input")


def controls_of(cell: Cell, group: Iterable[Cell]) -> list[Cell]:
    """The controls of a guided cell: of its state, or of none; of a rival all of its group.

    Controls of labels run no guide, so they have no state, but belong to trained guides alone: it
    is training that puts labels into features.
    """
    if cell.condition.is_rival:
        return [other for other in group if other.condition.is_control]
    state = cell.condition.state
    return [
        other
        for other in group
        if other.condition.is_control
        and other.condition.state in (None, state)
        and ("trained" in states_of(state) or other.condition.control not in _OF_TRAINED)
    ]


def guided_of(control: Cell, group: Iterable[Cell]) -> Cell | None:
    """The guided cell or rival that a control is compared with, or None.

    That of a rival's control is the rival. Else it is the one of the same state; a control without
    a state belongs to both, and is compared with the trained guide where there is one, else with
    the untrained one.
    """
    if control.condition.is_rival:
        return next((cell for cell in group if not cell.condition.is_control), None)
    state = control.condition.state
    guided = {cell.condition.state: cell for cell in group if not cell.condition.is_control}
    if state is not None:
        return guided.get(state)
    mixed = (cell for each, cell in guided.items() if "trained" in states_of(each))
    trained = guided.get("trained") or next(mixed, None)
    if trained is not None or control.condition.control in _OF_TRAINED:
        return trained
    return guided.get("untrained")


def least_beaten(
    specifics: Mapping[str, PairedDifference],
) -> tuple[str | None, PairedDifference]:
    """The control that a guided cell surely beats by least, and the difference to it.

    `specifics` holds guided minus control by the control's label. The least has the lowest lower
    limit; where none has an interval, the lowest mean. A control that shares no finished seed with
    the cell does not count; without any, (None, n = 0).
    """
    lows = {name: result.low for name, result in specifics.items() if result.low is not None}
    means = {name: result.mean for name, result in specifics.items() if result.mean is not None}
    figures = lows or means
    if not figures:
        return None, PairedDifference(n=0)
    least = min(figures, key=figures.__getitem__)
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
    ended = frozenset(replicates.loc[replicates["status"] != Status.missing, "replicate_id"])
    return {
        task: [_metric(name, metrics, values.get(name, {}), ended) for name in metrics.names]
        for task, metrics in tasks.items()
    }


def _metric(
    name: str, metrics: TaskMetrics, values: Mapping[str, float], ended: frozenset[str]
) -> Metric:
    return Metric(
        name=name,
        higher_is_better=metrics.higher_is_better[name],
        values=values,
        primary=name == metrics.primary_metric,
        failed=ended - values.keys(),
        chance=metrics.chance.get(name),
        data=metrics.data,
    )
