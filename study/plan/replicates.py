"""Parts of a plan: conditions with their seeds, their places in the tables, replicates."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple, Protocol

from analysis.contract import Role
from study.search.arm import Arm, Trial
from study.search.points import encoded
from trainers import controls, rivals, tasks
from trainers.conditions.condition import Condition
from trainers.conditions.encoding import to_json
from trainers.conditions.guidance import Guidance
from trainers.conditions.ids import replicate_ids
from trainers.conditions.registries import CONTROLS

#: Columns of a plan's table about the trial of a search: role of the arm, numbers from 0, values.
SEARCH_COLUMNS = ("arm", "trial", "batch", "point", "budget", "select")


@dataclass(eq=False)
class PlannedCondition:
    """A condition and the seeds at which it is trained; `needs` are guides that it waits for.

    With `is_candidate` its seeds are tuning seeds: it is a candidate of a search, or the guide of
    one.
    """

    condition: Condition
    needs: tuple[PlannedCondition, ...] = ()
    is_candidate: bool = False
    seeds: dict[int, None] = field(default_factory=dict)
    #: Whether its test split is also scored at its report of best validation.
    best_validation: bool = False
    #: The first place that it has in the tables.
    use: PlanRow = field(init=False)

    @property
    def role(self) -> str:
        """The role of its replicates in the study."""
        return Role.candidate.value if self.is_candidate else self.condition.role

    @property
    def own_seeds(self) -> list[int]:
        """Seeds at which it is a replicate: all, or the first where weights are evaluated alone."""
        return list(self.seeds)[: None if self.condition.weights is None else 1]

    @cached_property
    def ids(self) -> dict[int, str]:
        """Replicate ids by seed; cached, so ask when all seeds are known."""
        seeds = list(self.seeds)
        return dict(zip(seeds, replicate_ids(self.condition, seeds), strict=True))

    @cached_property
    def content(self) -> dict[str, Any]:
        """The condition as workers get it (see `to_json`): one object for all its seeds."""
        return to_json(self.condition)

    @cached_property
    def num_steps(self) -> int:
        """Steps of each replicate, those of `align_first` included."""
        num_train = tasks.build(self.condition.task).num_train
        return self.condition.align_steps + self.condition.train_steps(num_train)

    @property
    def labels(self) -> dict[str, Any]:
        """Labels of its first place in the tables, by column."""
        return self.use.labels

    def requires(self, seed: int) -> list[str]:
        """Ids of the replicates that must be finished before its own at a seed."""
        return [guide.ids[seed] for guide in self.needs]


class Matched(NamedTuple):
    """Baselines at equal compute of a guided condition, whose training takes `flops` operations.

    `full` has those of its guide's own training, too; None where the study trains no guide.
    """

    baseline: PlannedCondition
    full: PlannedCondition | None
    flops: float

    def row(self, seed: int) -> dict[str, Any]:
        """The columns of the plan's table at one seed, at which it may not have been asked for."""
        return {
            "matched_id": self.baseline.ids.get(seed),
            "matched_full_id": None if self.full is None else self.full.ids.get(seed),
            "flops": self.flops,
        }


@dataclass(eq=False)
class PlanRow:
    """A condition in one place of the tables: the conditions it is compared with, and its labels.

    One condition may have several places: guides that differ only in batch norm share the control
    `input`, all guides share `self`. `labels` are its values of `CONDITION_COLUMNS`. `is_matched`
    is true of a baseline that stands in the plan for its equal compute alone. The rows of a
    searched condition belong to an `arm`, whose labels they have, and to one `trial` of it: that
    which was chosen, or the candidate's.
    """

    planned: PlannedCondition
    baseline: PlannedCondition | None = None
    guides_alone: tuple[PlannedCondition, ...] = ()
    num_pairs: int | None = None
    #: The guidance in whose place it stands, by which it is labelled; see `expand.Expanded`.
    place: Guidance | None = None
    matched: Matched | None = None
    is_matched: bool = False
    seeds: dict[int, None] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)
    arm: Arm | None = None
    trial: Trial | None = None
    #: The arm of its baseline, while it waits for the end of a search.
    baseline_arm: Arm | None = None

    @property
    def is_candidate(self) -> bool:
        """Whether its replicates are candidates; a row that waits for a search has none yet."""
        return self.planned.is_candidate and self.baseline_arm is None

    @cached_property
    def required_controls(self) -> list[str] | None:
        """Labels of the controls without which its gain is not that of its guide or prior.

        None unless it is guided or a rival.
        """
        if self.is_candidate or self.condition.role not in ("guided", "rival"):
            return None
        rival = rivals.of(self.condition)
        if rival is not None and not self.condition.terms:
            return list(rival.controls)
        needed = (controls.standard(t.distance, t.guide.state) for t in self.condition.terms)
        return list(dict.fromkeys(CONTROLS.label(control) for control in chain(*needed)))

    @property
    def condition(self) -> Condition:
        """The condition that is trained."""
        return self.planned.condition

    @property
    def named(self) -> Condition:
        """The condition that its labels describe: that of its arm, if it has one."""
        return self.condition if self.arm is None else self.arm.form

    @property
    def searched(self) -> Collection[str]:
        """Dotted keys whose values are searched."""
        return () if self.arm is None else self.arm.space.keys()

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of the plan's table, one for each of its replicates."""
        alone = self.condition.weights is not None
        for seed in self.planned.own_seeds if alone else self.seeds:
            yield self.row(seed)

    def row(self, seed: int) -> dict[str, Any]:
        """The row of the plan's table at one seed."""
        alone = () if self.planned.is_candidate else self.guides_alone
        guide_ids = [guide.ids[seed] for guide in alone]
        return {
            "replicate_id": self.planned.ids[seed],
            "role": self.planned.role,
            "seed": seed,
            **self.labels,
            "num_pairs": self.num_pairs,
            "required_controls": self.required_controls,
            "baseline_id": None if self.baseline is None else self.baseline.ids[seed],
            "guide_id": guide_ids[0] if len(guide_ids) == 1 else None,
            "guide_ids": guide_ids,
            "requires_ids": self.planned.requires(seed),
            "num_steps": self.planned.num_steps,
            **({} if self.matched is None else self.matched.row(seed)),
            **self._searched(),
        }

    def first_row(self) -> dict[str, Any]:
        """A row of the plan's table before a search is over; arms stand for ids."""
        seed = next(iter(self.seeds))
        untreated = self.named.treatment is None
        return {
            "replicate_id": str(id(self.arm)),
            "role": self.named.role,
            "seed": seed,
            **self.labels,
            "num_pairs": self.num_pairs,
            "baseline_id": None if untreated else str(id(self.baseline_arm)),
            "guide_id": self.guides_alone[0].ids[seed] if len(self.guides_alone) == 1 else None,
        }

    def _searched(self) -> dict[str, Any]:
        """Values of `SEARCH_COLUMNS`; null where nothing is searched."""
        if self.arm is None or self.trial is None:
            return dict.fromkeys(SEARCH_COLUMNS)
        trial, search = self.trial, self.arm.search
        values = (
            self.arm.form.role, trial.number, trial.batch, encoded(trial.point),
            search.budget, search.select,
        )  # fmt: skip
        return dict(zip(SEARCH_COLUMNS, values, strict=True))


@dataclass(frozen=True)
class Later:
    """Numbers of replicates that are known after others have ended, by a condition of equal cost.

    `candidates` are those of batches that follow, `winners` those of rows that are searched.
    """

    candidates: Mapping[PlannedCondition, int] = field(default_factory=dict)
    winners: Mapping[PlannedCondition, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.num_candidates + self.num_winners

    @property
    def num_candidates(self) -> int:
        """Number of candidates."""
        return sum(self.candidates.values())

    @property
    def num_winners(self) -> int:
        """Number of replicates at the seeds of the study."""
        return sum(self.winners.values())


class Listed(Protocol):
    """A replicate as a plan lists it, or a plan that was read from a store."""

    @property
    def id(self) -> str:
        """Its content id."""

    @property
    def seed(self) -> int:
        """Its seed."""

    @property
    def role(self) -> str:
        """Its role in the study."""

    @property
    def labels(self) -> dict[str, Any]:
        """Labels of its first place in the tables, by `CONDITION_COLUMNS`."""

    @property
    def num_steps(self) -> int:
        """Steps of its run; 0 where weights are only evaluated."""

    @property
    def requires(self) -> frozenset[str]:
        """Ids of the replicates that must be finished before this one can train."""


@dataclass(frozen=True)
class Replicate:
    """One training run of a study; see `Listed`."""

    id: str
    seed: int
    planned: PlannedCondition

    @property
    def role(self) -> str:
        """Its role in the study."""
        return self.planned.role

    @property
    def labels(self) -> dict[str, Any]:
        """Labels of its first place in the tables, by `CONDITION_COLUMNS`."""
        return self.planned.labels

    @property
    def num_steps(self) -> int:
        """Steps of its run; 0 where weights are only evaluated."""
        return self.planned.num_steps

    @property
    def condition(self) -> Condition:
        """The condition that is trained."""
        return self.planned.condition

    @property
    def requires(self) -> frozenset[str]:
        """Ids of the replicates that must be finished before this one can train."""
        return frozenset(self.planned.requires(self.seed))

    def row(self) -> dict[str, Any]:
        """The replicate's row in the plan's table, in its first place."""
        return self.planned.use.row(self.seed)
