"""From a block of a spec to conditions: every guided condition, its baseline and its controls."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from study.entries import train_settings
from study.spec import Block
from trainers import distances, tasks
from trainers.condition import (
    Condition,
    Control,
    Guidance,
    Guide,
    Role,
    TrainSettings,
)
from trainers.mapping import MAPPINGS
from trainers.registry import Component


@dataclass(frozen=True)
class Expanded:
    """A guided or control condition, the baseline it is compared with, and its guide alone.

    `batch_norm` and `guide_inputs` are those of the guided condition with its guide untrained,
    whatever part they play here: they name the guide.
    """

    condition: Condition
    baseline: Condition
    guide_alone: Condition
    batch_norm: str | None
    guide_inputs: str

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """All that must be trained for it, in order."""
        needed = self.condition.guide_condition
        first = (self.guide_alone,) if needed is None else (self.guide_alone, needed)
        return (*first, self.baseline, self.condition)

    def with_steps(self, steps: int) -> Expanded:
        """The same, every training cut to `steps`."""
        return replace(
            self,
            condition=self.condition.with_steps(steps),
            baseline=self.baseline.with_steps(steps),
            guide_alone=self.guide_alone.with_steps(steps),
        )


def expand(block: Block) -> Iterator[Expanded]:
    """Every guided condition of a block, and each of its controls after it."""
    for task in _components(block.task):
        for guidance, guide_train in _guided(block):
            for entry in block.targets:
                trainings = train_settings(block.train, entry.train)
                for target, train in itertools.product(entry.components(), trainings):
                    baseline = Condition(role="baseline", task=task, target=target, train=train)
                    yield from _conditions(block, baseline, guidance, guide_train)


def _components(entries: Iterable[Any]) -> list[Component]:
    return [component for entry in entries for component in entry.components()]


def _guided(block: Block) -> Iterator[tuple[Guidance, TrainSettings]]:
    """Every guidance of a block, as if its guide were untrained, and how its guide is trained."""
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
    mappings = _components(block.mapping)
    rules = list(itertools.product(mappings, block.reduction, block.guide_inputs))
    axes = itertools.product(guides, measures, rules, schedules)
    for (architecture, batch_norm, entry), (distance, rows), rule, schedule in axes:
        mapping, reduction, guide_inputs = rule
        guide = Guide(architecture=architecture, state="untrained", batch_norm=batch_norm)
        for settings in train_settings(block.train, block.guide_train, entry.train):
            guidance = Guidance(
                guide=guide,
                distance=distance,
                rows=rows,
                mapping=mapping,
                reduction=reduction,
                schedule=schedule,
                guide_inputs=guide_inputs,
            )
            yield guidance, settings


def _conditions(
    block: Block, baseline: Condition, guidance: Guidance, guide_train: TrainSettings
) -> Iterator[Expanded]:
    alone = Condition(
        role="guide",
        task=baseline.task,
        target=guidance.guide.architecture,
        train=guide_train,
    )
    guidance = _canonical(guidance, baseline.task)
    controls: tuple[Control, ...] = ("none", *block.controls)
    for state, control in itertools.product(block.states, controls):
        if not applies(control, guidance.distance):
            continue
        guide = guidance.guide
        if state == "trained":
            guide = replace(guide, state="trained", batch_norm=None, train=guide_train)
        if control in ("input", "uniform"):
            guide = Guide(architecture=guide.architecture, state=None)
        if control in ("self", "uniform"):
            guide = replace(guide, architecture=baseline.target)
        role: Role = "guided" if control == "none" else "control"
        guided = replace(guidance, guide=guide, control=control)
        if control in ("noise", "uniform"):
            # They look at no inputs.
            guided = replace(guided, guide_inputs="same")
        condition = replace(baseline, role=role, guidance=guided)
        yield Expanded(condition, baseline, alone, guidance.guide.batch_norm, guidance.guide_inputs)


def applies(control: Control, distance: Component) -> bool:
    """Whether a control has a meaning for a distance.

    A network's answers cannot be replaced by its input, and only answers can be uniform.
    """
    of_logits = distances.of_logits(distance.name)
    return control != ("input" if of_logits else "uniform")


def _canonical(guidance: Guidance, task: Component) -> Guidance:
    """What plays no part at its default: answers have no taps to map, one pair, their own rows."""
    if not distances.of_logits(guidance.distance.name):
        return guidance
    per_position = tasks.build(task).output.per_position
    return replace(
        guidance,
        mapping=MAPPINGS.component("evenly_spaced"),
        reduction="sum",
        rows="tokens" if per_position else "examples",
    )
