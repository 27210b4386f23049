"""From a spec to the replicates of a study: conditions x seeds, each with a content id.

Every guided condition brings its baseline, its guide alone (the guide's architecture trained on
the task) and the controls asked for, at the same seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from study.entries import MAX_REPLICATES, train_settings
from study.labels import label
from study.spec import Block, Spec, SpecError
from trainers import architectures, distances, tasks
from trainers.condition import (
    Condition,
    Control,
    Guidance,
    Guide,
    Role,
    TrainSettings,
    replicate_ids,
)
from trainers.distances import DISTANCES
from trainers.guidance import evenly_spaced
from trainers.registry import Component

#: Length of every run of `--debug`.
DEBUG_STEPS = 2


@dataclass(eq=False)
class Planned:
    """A condition of a study and its seeds; `labels` are its values of `CONDITION_COLUMNS`.

    `batch_norm` is that of its guide's untrained state, whatever its own: it names the guide.
    """

    condition: Condition
    baseline: Planned | None = None
    guide_alone: Planned | None = None
    num_pairs: int | None = None
    batch_norm: str | None = None
    seeds: dict[int, None] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def ids(self) -> dict[int, str]:
        """Replicate ids by seed; asked for when all seeds are known."""
        seeds = list(self.seeds)
        return dict(zip(seeds, replicate_ids(self.condition, seeds), strict=True))

    @property
    def needs_guide(self) -> bool:
        """Whether the trained guide must be finished before this can train."""
        return self.condition.guide_condition is not None


@dataclass(frozen=True)
class Replicate:
    """One training run of a study."""

    id: str
    seed: int
    planned: Planned

    @property
    def condition(self) -> Condition:
        """What is trained."""
        return self.planned.condition

    @property
    def baseline_id(self) -> str | None:
        """The unguided run with the same seed (guided runs only)."""
        baseline = self.planned.baseline
        return None if baseline is None else baseline.ids[self.seed]

    @property
    def guide_id(self) -> str | None:
        """The run of the guide alone with the same seed (guided runs only)."""
        guide = self.planned.guide_alone
        return None if guide is None else guide.ids[self.seed]

    @property
    def requires(self) -> str | None:
        """The replicate that must be finished before this one can train."""
        return self.guide_id if self.planned.needs_guide else None

    def row(self) -> dict[str, Any]:
        """The replicate as a row of the plan's table."""
        return {
            "replicate_id": self.id,
            "role": self.condition.role,
            "seed": self.seed,
            **self.planned.labels,
            "num_pairs": self.planned.num_pairs,
            "baseline_id": self.baseline_id,
            "guide_id": self.guide_id,
        }


class Plan:
    """All conditions of a study: guides first, then baselines, then what is guided."""

    def __init__(self, spec: Spec, *, debug: bool = False) -> None:
        self.name = spec.name
        self.resources = spec.resources
        self._planned: dict[Condition, Planned] = {}
        self._networks: dict[tuple[Component, Component], tuple[str, ...]] = {}
        self._debug = debug
        self._size = 0
        for block in spec.blocks:
            self._add_block(block)
        order = {"guide": 0, "baseline": 1, "guided": 2, "control": 3}
        self.conditions = sorted(self._planned.values(), key=lambda p: order[p.condition.role])
        label(self.name, self.conditions)

    def __len__(self) -> int:
        return sum(len(planned.seeds) for planned in self.conditions)

    @cached_property
    def replicates(self) -> list[Replicate]:
        """Every replicate of the study, guides first."""
        return [
            Replicate(identifier, seed, planned)
            for planned in self.conditions
            for seed, identifier in planned.ids.items()
        ]

    def tasks(self) -> dict[str, dict[str, Any]]:
        """By task label: the headline metric, and whether higher is better for each metric."""
        return {
            planned.labels["task"]: {
                "headline": (task := tasks.build(planned.condition.task)).headline,
                "higher_is_better": dict(task.higher_is_better),
            }
            for planned in self.conditions
        }

    def _add_block(self, block: Block) -> None:
        seeds = block.seeds[:1] if self._debug else block.seeds
        for task, guided in itertools.product(_components(block.task), _guided(block)):
            batch_norm = guided.guidance.guide.batch_norm
            for full in _conditions(block, task, guided):
                conditions = [c.with_steps(DEBUG_STEPS) for c in full] if self._debug else full
                baseline, alone = (self._add(Planned(c), seeds) for c in conditions[:2])
                self._add(Planned(conditions[2], baseline, alone, batch_norm=batch_norm), seeds)
                if self._size > MAX_REPLICATES:
                    raise SpecError(
                        f"{self.name}: more than {MAX_REPLICATES:,} replicates; split the study"
                    )

    def _add(self, new: Planned, seeds: Iterable[int]) -> Planned:
        planned = self._planned.get(new.condition)
        if planned is None:
            self._check(new.condition)
            if new.condition.guidance is not None:
                new.num_pairs = self._num_pairs(new.condition)
            planned = self._planned[new.condition] = new
        before = len(planned.seeds)
        planned.seeds |= dict.fromkeys(seeds)
        self._size += len(planned.seeds) - before
        return planned

    def _check(self, condition: Condition) -> None:
        """Raise SpecError where network, length of training and task do not fit."""
        self._taps(condition.target, condition.task)
        try:
            condition.train.num_steps(tasks.build(condition.task).num_train)
        except ValueError as error:
            raise SpecError(f"task {condition.task.name!r}: {error}") from error

    def _num_pairs(self, condition: Condition) -> int:
        """Mapped pairs; raises SpecError where the networks, the rows or the batch do not fit."""
        guidance = condition.guidance
        assert guidance is not None
        task = tasks.build(condition.task)
        if guidance.rows != "examples" and task.input.kind != "tokens":
            raise SpecError(
                f"distances: rows: {guidance.rows} needs sequences, and the inputs of task "
                f"{condition.task.name!r} are of kind {task.input.kind!r}; use rows: examples"
            )
        fewest = distances.build(guidance.distance).min_rows
        smallest = _smallest_batch(condition.train, task.num_train)
        if guidance.rows != "tokens" and smallest < fewest:
            raise SpecError(
                f"train.batch_size: {condition.train.batch_size} gives batches of {smallest} rows, "
                f"too few for distance {DISTANCES.label(guidance.distance)!r}, which needs "
                f"{fewest} or more"
            )
        target = self._taps(condition.target, condition.task)
        return len(evenly_spaced(target, self._taps(guidance.guide.architecture, condition.task)))

    def _taps(self, architecture: Component, task: Component) -> tuple[str, ...]:
        key = (architecture, task)
        if key not in self._networks:
            try:
                built = tasks.build(task)
                network = architectures.blueprint(architecture, built.input, built.output)
            except ValueError as error:
                raise SpecError(f"task {task.name!r}: {error}") from error
            self._networks[key] = network.taps
        return self._networks[key]


def _smallest_batch(train: TrainSettings, num_train: int | None) -> int:
    return train.batch_size if num_train is None else num_train // train.epoch_steps(num_train)


def _components(entries: Iterable[Any]) -> list[Component]:
    return [component for entry in entries for component in entry.components()]


@dataclass(frozen=True)
class _WithTraining:
    """A guidance and how its guide is trained."""

    guidance: Guidance
    guide_train: TrainSettings


def _guided(block: Block) -> Iterator[_WithTraining]:
    """Every guidance of a block, as if its guide were untrained."""
    guides = [
        (component, batch_norm, entry)
        for entry in block.guides
        for component in entry.components()
        for batch_norm in entry.batch_norm
    ]
    measures = [
        (component, rows)
        for entry in block.distances
        for component in entry.components()
        for rows in entry.rows
    ]
    schedules = [schedule for entry in block.schedule for schedule in entry.schedules]
    axes = itertools.product(guides, measures, block.mapping, block.reduction, schedules)
    for (architecture, batch_norm, entry), (distance, rows), mapping, reduction, schedule in axes:
        guide = Guide(architecture=architecture, state="untrained", batch_norm=batch_norm)
        for settings in train_settings(block.train, block.guide_train, entry.train):
            guidance = Guidance(
                guide=guide,
                distance=distance,
                rows=rows,
                mapping=mapping,
                reduction=reduction,
                schedule=schedule,
            )
            yield _WithTraining(guidance, settings)


def _conditions(block: Block, task: Component, guided: _WithTraining) -> Iterator[list[Condition]]:
    """Baseline, guide alone and guided condition, for every target, state and control."""
    untrained: Guide = guided.guidance.guide
    alone = Condition(
        role="guide", task=task, target=untrained.architecture, train=guided.guide_train
    )
    trained = replace(untrained, state="trained", batch_norm=None, train=guided.guide_train)
    stateless = replace(untrained, state=None, batch_norm=None)
    by_state = {"trained": trained, "untrained": untrained}
    for entry in block.targets:
        for target, train in itertools.product(
            entry.components(), train_settings(block.train, entry.train)
        ):
            baseline = Condition(role="baseline", task=task, target=target, train=train)
            controls: tuple[Control, ...] = ("none", *block.controls)
            for state, control in itertools.product(block.states, controls):
                guidance = replace(
                    guided.guidance,
                    guide=stateless if control == "input" else by_state[state],
                    control=control,
                )
                role: Role = "guided" if control == "none" else "control"
                yield [baseline, alone, replace(baseline, role=role, guidance=guidance)]
