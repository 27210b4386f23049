"""From a spec to the replicates of a study: conditions x seeds, each with a content id.

Every guided condition brings its baseline, its guide alone (the guide's architecture trained on
the task) and the controls asked for, at the same seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

from study.plan.compatibility import Compatibility
from study.plan.expand import Expanded, applies, expand
from study.plan.labels import label
from study.plan.weights import Sources
from study.spec.entries import MAX_REPLICATES
from study.spec.read import Block, Spec, SpecError
from trainers import tasks
from trainers.conditions.condition import Condition, replicate_ids
from trainers.guides.cache_plan import Budget, with_cache
from trainers.tasks import Task

#: Length of every run of `--debug`.
DEBUG_STEPS = 2


@dataclass(eq=False)
class Planned:
    """A condition that is trained at some seeds; `needs` is the guide that must be there first."""

    condition: Condition
    needs: Planned | None = None
    seeds: dict[int, None] = field(default_factory=dict)
    #: The first place that it has in the tables.
    use: Use = field(init=False)

    @property
    def own_seeds(self) -> list[int]:
        """The seeds at which it is a replicate: what has none of its own is one, at the first."""
        return list(self.seeds)[: None if self.condition.weights is None else 1]

    @cached_property
    def ids(self) -> dict[int, str]:
        """Replicate ids by seed; asked for when all seeds are known."""
        seeds = list(self.seeds)
        return dict(zip(seeds, replicate_ids(self.condition, seeds), strict=True))

    @cached_property
    def num_steps(self) -> int:
        """Steps of each run of it, those of alignment alone among them."""
        condition = self.condition
        guidance = condition.guidance
        align_steps = 0 if guidance is None else guidance.schedule.align_steps
        return align_steps + condition.train.num_steps(tasks.build(condition.task).num_train)

    @property
    def labels(self) -> dict[str, Any]:
        """What it is called where it stands first in the tables."""
        return self.use.labels


@dataclass(eq=False)
class Use:
    """A condition in its place in the tables: what it is compared with, and what it is called.

    One condition may have several: guides that differ only in their batch norm share the control
    `input`, all guides share `self`. `labels` are its values of `CONDITION_COLUMNS`.
    """

    planned: Planned
    baseline: Planned | None = None
    guide_alone: Planned | None = None
    num_pairs: int | None = None
    batch_norm: str | None = None
    guide_inputs: str = "same"
    seeds: dict[int, None] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)

    @property
    def condition(self) -> Condition:
        """What is trained."""
        return self.planned.condition

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        """A row of the plan's table for each of its replicates."""
        alone = self.condition.weights is not None
        for seed in self.planned.own_seeds if alone else self.seeds:
            yield self.row(seed)

    def row(self, seed: int) -> dict[str, Any]:
        """One seed of it as a row of the plan's table."""
        return {
            "replicate_id": self.planned.ids[seed],
            "role": self.condition.role,
            "seed": seed,
            **self.labels,
            "num_pairs": self.num_pairs,
            "baseline_id": None if self.baseline is None else self.baseline.ids[seed],
            "guide_id": None if self.guide_alone is None else self.guide_alone.ids[seed],
            "requires_id": None if self.planned.needs is None else self.planned.needs.ids[seed],
            "num_steps": self.planned.num_steps,
        }


class Listed(Protocol):
    """What a plan says of a replicate, also one that was read from a store."""

    @property
    def id(self) -> str:
        """Its content id."""

    @property
    def seed(self) -> int:
        """Its seed."""

    @property
    def role(self) -> str:
        """Its condition's role."""

    @property
    def labels(self) -> dict[str, Any]:
        """What it is called where it stands first in the tables, by `CONDITION_COLUMNS`."""

    @property
    def num_steps(self) -> int:
        """Steps of its run; 0 where weights are only evaluated."""

    @property
    def requires(self) -> str | None:
        """The replicate that must be finished before this one can train."""


@dataclass(frozen=True)
class Replicate:
    """One training run of a study; see `Listed`."""

    id: str
    seed: int
    planned: Planned

    @property
    def role(self) -> str:
        """Its condition's role."""
        return self.condition.role

    @property
    def labels(self) -> dict[str, Any]:
        """What it is called where it stands first in the tables."""
        return self.planned.labels

    @property
    def num_steps(self) -> int:
        """Steps of its run; 0 where weights are only evaluated."""
        return self.planned.num_steps

    @property
    def condition(self) -> Condition:
        """What is trained."""
        return self.planned.condition

    @property
    def requires(self) -> str | None:
        """The replicate that must be finished before this one can train."""
        needs = self.planned.needs
        return None if needs is None else needs.ids[self.seed]

    def row(self) -> dict[str, Any]:
        """The replicate as a row of the plan's table, where it stands there first."""
        return self.planned.use.row(self.seed)


_ORDER = {"guide": 0, "baseline": 1, "guided": 2, "control": 3}


class Plan:
    """All conditions of a study: guides first, then baselines, then what is guided.

    Files of weights are looked for in `sources`, by default the current folder.
    """

    def __init__(self, spec: Spec, *, debug: bool = False, sources: Sources | None = None) -> None:
        self.name = spec.name
        self._sources = sources or Sources()
        self.resources = spec.resources
        self._budget: Budget | None = None
        if spec.cache is not None:
            max_bytes = int(spec.cache.max_gib * 2**30)
            self._budget = Budget(max_bytes=max_bytes, dtype=spec.cache.dtype)
        self._planned: dict[Condition, Planned] = {}
        self._uses: dict[Any, Use] = {}
        self._fit = Compatibility(spec.resources.workers)
        self._debug = debug
        self._size = 0
        for block in spec.blocks:
            self._add_block(block)
        self.conditions = sorted(self._planned.values(), key=lambda p: _ORDER[p.condition.role])
        self.uses = sorted(self._uses.values(), key=lambda use: _ORDER[use.condition.role])
        label(self.name, self.uses)

    def __len__(self) -> int:
        return sum(len(planned.own_seeds) for planned in self.conditions)

    @cached_property
    def replicates(self) -> list[Replicate]:
        """Every replicate of the study, guides first."""
        return [
            Replicate(planned.ids[seed], seed, planned)
            for planned in self.conditions
            for seed in planned.own_seeds
        ]

    def rows(self) -> Iterator[dict[str, Any]]:
        """The plan's table: a row for each replicate in each of its places."""
        for use in self.uses:
            yield from use.rows

    def first_rows(self) -> list[dict[str, Any]]:
        """The plan's table at one seed of each condition, in the first of its places."""
        return [planned.use.row(next(iter(planned.seeds))) for planned in self.conditions]

    def tasks(self) -> dict[str, dict[str, Any]]:
        """By task label: the headline metric, and whether higher is better for each metric."""
        return {
            planned.labels["task"]: {
                "headline": (task := tasks.build(planned.condition.task)).headline,
                "higher_is_better": dict(task.higher_is_better),
            }
            for planned in self.conditions
        }

    def absent(self) -> dict[str, Task]:
        """By label, tasks whose data is not here: ids of what is trained on it are provisional."""
        labels = {planned.condition.task: planned.labels["task"] for planned in self.conditions}
        built = {label: tasks.build(component) for component, label in labels.items()}
        return {label: task for label, task in built.items() if task.data == tasks.ABSENT}

    def check_data(self) -> None:
        """Have the data of every task here, downloaded where it can be; raises SpecError.

        To be called before ids are asked for.
        """
        for task in self.absent().values():
            try:
                task.check_data()
            except FileNotFoundError as error:
                raise SpecError(str(error)) from error

    def _add_block(self, block: Block) -> None:
        self._check_controls(block)
        seeds = block.seeds[:1] if self._debug else block.seeds
        for found in expand(block, self._sources):
            self._add(found.with_steps(DEBUG_STEPS) if self._debug else found, seeds)
            if self._size > MAX_REPLICATES:
                raise SpecError(
                    f"{self.name}: more than {MAX_REPLICATES:,} replicates; split the study"
                )

    @staticmethod
    def _check_controls(block: Block) -> None:
        distances = [component for entry in block.distances for component in entry.components()]
        for control in block.controls:
            if not any(applies(control, distance) for distance in distances):
                names = ", ".join(dict.fromkeys(distance.name for distance in distances))
                what = "answers" if control == "uniform" else "taps"
                raise SpecError(f"controls: {control!r} is one of {what}, not for {names}")

    def _add(self, found: Expanded, seeds: Iterable[int]) -> None:
        if self._budget is not None:
            for condition in (found.baseline, found.guide_alone):
                self._fit.check(condition)
            found = replace(found, condition=with_cache(found.condition, self._budget))
        for condition in found.conditions:
            self._train(condition, seeds)
        alone, baseline = self._planned[found.guide_alone], self._planned[found.baseline]
        key = (found.condition, found.guide_alone, found.batch_norm, found.guide_inputs)
        use = self._uses.get(key)
        if use is None:
            use = Use(self._planned[found.condition], baseline, alone)
            use.batch_norm, use.guide_inputs = found.batch_norm, found.guide_inputs
            use.num_pairs = self._fit.num_pairs(found.condition)
            self._place(key, use)
        use.seeds |= dict.fromkeys(seeds)

    def _train(self, condition: Condition, seeds: Iterable[int]) -> None:
        planned = self._planned.get(condition)
        if planned is None:
            self._fit.check(condition)
            guide = condition.guide_condition
            planned = Planned(condition, None if guide is None else self._planned[guide])
            self._planned[condition] = planned
        before = len(planned.own_seeds)
        planned.seeds |= dict.fromkeys(seeds)
        self._size += len(planned.own_seeds) - before
        if condition.guidance is None:
            use = self._uses.get(condition)
            if use is None:
                use = self._place(condition, Use(planned))
            use.seeds |= dict.fromkeys(seeds)

    def _place(self, key: Any, use: Use) -> Use:
        self._uses[key] = use
        if not hasattr(use.planned, "use"):
            use.planned.use = use
        return use
