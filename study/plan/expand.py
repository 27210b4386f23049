"""Expands a block of a spec into guided conditions and rivals, with baselines and controls."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from study.errors import SpecError
from study.plan.weights import Sources
from study.search.points import Point, applied
from study.spec.entries import GuideEntry, thread_counts, train_settings
from study.spec.mixtures import MixedEntry, MixtureEntry
from study.spec.mixtures import parts as guides_of
from study.spec.read import Block
from trainers import controls, rivals
from trainers.conditions.condition import Condition, Rival
from trainers.conditions.guidance import NO_CONTROL, BatchNorm, Guidance, Guide, State, Term
from trainers.conditions.schedule import AlignFirst, Schedule
from trainers.conditions.training import TrainSettings
from trainers.conditions.weights import Weights
from trainers.controls import Control
from trainers.errors import UserError
from trainers.registry import Component


@dataclass(frozen=True)
class _GuideAlone:
    """The training of a guide: by `train`, or elsewhere (`weights`), and then `train` has no steps.

    `self_train` trains the guide of the control `self`, which has the target's own architecture.
    """

    train: TrainSettings
    weights: Weights | None
    self_train: TrainSettings | None

    def condition(self, baseline: Condition, architecture: Component) -> Condition:
        """The condition in which the guide is trained or evaluated alone, on a baseline's data."""
        return Condition(
            is_guide=True, task=baseline.task, target=architecture, train=self.train,
            weights=self.weights, data=baseline.data,
        )  # fmt: skip

    def trained(self, guide: Guide, *, of_target: bool) -> Guide:
        """An untrained guide in its trained state; `of_target` is for the control `self`."""
        if of_target or self.weights is None:
            return replace(guide, state="trained", batch_norm=None, train=self.self_train)
        return replace(guide, state="trained", batch_norm=None, weights=self.weights)


@dataclass(frozen=True)
class _Part:
    """A guide of a row, and its `weight` among several.

    In a mixture it may have a `state` of its own (None: that of the row), or a `control` in its
    place, which then stands beside every control of the row.
    """

    architecture: Component
    batch_norm: BatchNorm
    alone: _GuideAlone
    weight: float = 1.0
    state: State | None = None
    control: Component = NO_CONTROL

    @property
    def untrained(self) -> Guide:
        """The guide in its untrained state."""
        return Guide(architecture=self.architecture, state="untrained", batch_norm=self.batch_norm)

    def guide_in(self, state: State, control: Control) -> Guide:
        """The guide in the state of its row, or in its own, as a control shows it."""
        if (self.state or state) == "untrained" or not control.runs_guide:
            return self.untrained
        return self.alone.trained(self.untrained, of_target=control.of_target)


@dataclass(frozen=True)
class Expanded:
    """A guided condition, rival or control, the baseline it is compared with, its guides alone.

    `place` is the guidance of the guided condition with the untrained guides: its mapping, batch
    norm and inputs label the row in every state, and with every control. That of a rival has the
    guides in their state, which is part of the rival. An `optional` control is left out where it
    does not fit the row. `shown` is the guidance with the guides in their state, before the
    `control` takes their place. Both are None without guides.
    """

    condition: Condition
    baseline: Condition
    guides_alone: tuple[Condition, ...]
    place: Guidance | None = None
    shown: Guidance | None = None
    control: Component = NO_CONTROL
    optional: bool = False

    def at(self, point: Point) -> Condition:
        """The condition with values of a search, which the control's own pairs follow."""
        rival = self.condition.rival
        target = applied(replace(self.baseline, treatment=self.shown), point)
        if target.guidance is None:
            return replace(target, treatment=rival)
        terms = tuple(controls.canonical(term, target.task) for term in target.terms)
        baseline = replace(target, treatment=None)
        found = controls.guided(self.control, baseline, replace(target.guidance, terms=terms))
        return found if rival is None else _aligned(found, rival.method)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """All conditions that must be trained for it, each after those that it needs."""
        needed = self.condition.guide_conditions
        return (*self.guides_alone, *needed, self.baseline, self.condition)

    def under(self, schedule: Schedule) -> Expanded:
        """A copy of a row with guides, under a schedule."""
        shown, place, guidance = (
            None if each is None else replace(each, schedule=schedule)
            for each in (self.shown, self.place, self.condition.guidance)
        )
        condition = replace(self.condition, treatment=guidance)
        return replace(self, condition=condition, shown=shown, place=place)

    def with_steps(self, steps: int) -> Expanded:
        """A copy with every training cut to `steps`."""
        return replace(
            self,
            condition=self.condition.with_steps(steps),
            baseline=self.baseline.with_steps(steps),
            guides_alone=tuple(guide.with_steps(steps) for guide in self.guides_alone),
        )


def expand(block: Block, sources: Sources) -> Iterator[Expanded]:
    """Every guided condition of a block, each followed by its controls, and its rivals.

    Raises SpecError where weights that the spec names are not in `sources`.
    """
    schedules = [schedule for entry in block.schedule for schedule in entry.points]
    for task, data in itertools.product(_components(block.task), block.data):
        baselines = [
            Condition(task=task, target=target, train=train, data=data)
            for entry in block.targets
            for target in entry.components()
            for train in train_settings(block.train, entry.train)
        ]
        for guidance, parts in _guided(block, sources):
            made: dict[Condition, list[Expanded]] = {}
            for schedule, baseline in itertools.product(schedules, baselines):
                # Schedules share the rest of their rows. The first one makes them one by one, so
                # that a guided condition is checked before its controls are made.
                known = made.get(baseline)
                rows = _rows(block, guidance, parts, baseline) if known is None else known
                for row in rows:
                    if known is None:
                        made.setdefault(baseline, []).append(row)
                    yield row.under(schedule)
        for baseline in baselines if block.rivals else ():
            yield from _rivals(block, baseline, sources)


def _rivals(block: Block, baseline: Condition, sources: Sources) -> Iterator[Expanded]:
    """Every rival of a block in place of guidance, each followed by its controls.

    Controls of a prior are those that a claim needs (`standard`).
    """
    standard = any(control.is_standard for control in block.controls)
    for entry in block.rivals:
        for method in entry.components():
            rival = rivals.build(method)
            if rival.align_first is not None:
                yield from _aligned_first(block, baseline, method, rival.align_first, sources)
                continue
            starts = [None] if not rival.takes_weights else sources.starts(entry)
            for control in ("none", *(rival.controls if standard else ())):
                for weights in starts:
                    treatment = Rival(method=method, control=control, weights=weights)
                    yield Expanded(replace(baseline, treatment=treatment), baseline, ())


def _aligned_first(
    block: Block, baseline: Condition, method: Component, first: AlignFirst, sources: Sources
) -> Iterator[Expanded]:
    """A rival that aligns the target with each guide of a block before it trains it."""
    schedule = Schedule(align_first=first)
    # The schedules of guidance play no part.
    for guidance, parts in dict.fromkeys(_guided(block, sources)):
        for row in _rows(block, guidance, parts, baseline, in_state=True):
            found = row.under(schedule)
            yield replace(found, condition=_aligned(found.condition, method))


def _aligned(guided: Condition, method: Component) -> Condition:
    """A rival that has the guidance of a condition."""
    return replace(guided, treatment=Rival(method=method, guidance=guided.guidance))


def _components(entries: Iterable[Any]) -> list[Component]:
    return [component for entry in entries for component in entry.components()]


def _guided(block: Block, sources: Sources) -> Iterator[tuple[Guidance, tuple[_Part, ...]]]:
    """Every guidance of a block with its guides untrained, and these; under no schedule yet."""
    guides = [parts for entry in block.guides for parts in _parts(block, entry, sources)]
    measures = [
        (component, rows)
        for entry in block.distances
        for component in entry.components()
        for rows in entry.rows
    ]
    mappings = _components(block.mapping)
    rules = list(itertools.product(mappings, block.reduction, block.guide_inputs))
    axes = itertools.product(guides, measures, rules)
    for parts, (distance, rows), (mapping, reduction, guide_inputs) in axes:
        terms = tuple(
            Term(
                guide=part.untrained, distance=distance, rows=rows, mapping=mapping,
                reduction=reduction, weight=part.weight, control=part.control,
            )
            for part in parts
        )  # fmt: skip
        yield Guidance(terms=terms, guide_inputs=guide_inputs), parts


def _parts(
    block: Block, entry: GuideEntry | MixtureEntry, sources: Sources
) -> Iterator[tuple[_Part, ...]]:
    """The guides of every row of an entry; of a mixture those whose weight is not 0.

    Raises SpecError where one stands twice in a mixture, which no label could tell apart.
    """
    if isinstance(entry, GuideEntry):
        yield from ((part,) for part in _points(block, entry, sources))
        return
    choices = [
        [
            replace(part, state=each.state, control=each.own_control)
            for part in _points(block, each, sources)
        ]
        for each in entry.mix
    ]
    for parts, weights in itertools.product(itertools.product(*choices), entry.weights):
        mixed = [p for p, weight in zip(parts, weights, strict=True) if weight]
        for state in block.states:
            if len({replace(p, state=p.state or state) for p in mixed}) < len(mixed):
                names = ", ".join(part.architecture.name for part in mixed)
                where = f"with states: {state} " if any(p.state for p in mixed) else ""
                raise SpecError(f"guides: mix: {where}a guide stands twice ({names})")
        kept = (weight for weight in weights if weight)
        yield tuple(replace(p, weight=weight) for p, weight in zip(mixed, kept, strict=True))


def _points(block: Block, entry: GuideEntry, sources: Sources) -> Iterator[_Part]:
    """A guide at every point of its entry's axes."""
    for component, batch_norm in itertools.product(entry.components(), entry.batch_norm):
        for alone in _alone(block, entry, component, sources):
            yield _Part(component, batch_norm, alone)


def _alone(
    block: Block, entry: GuideEntry, component: Component, sources: Sources
) -> Iterator[_GuideAlone]:
    for written in entry.weights:
        if written is None:
            for train in train_settings(block.train, block.guide_train, entry.train):
                yield _GuideAlone(train, None, train)
            continue
        weights = sources.find(written, component)
        self_train = None
        if any(map(_trains_target, block.named_controls)):
            self_train = _self_training(block, entry)
        for threads in thread_counts(block.train, block.guide_train):
            yield _GuideAlone(TrainSettings(steps=0, threads=threads), weights, self_train)


def _self_training(block: Block, entry: GuideEntry) -> TrainSettings | None:
    """The training of the control `self` beside a pretrained guide; None without trained guides.

    Raises SpecError where the block gives it no length, or several settings.
    """
    own = {each.state for _, each in guides_of(block.guides) if isinstance(each, MixedEntry)}
    if "trained" not in {*block.states, *own}:
        return None
    try:
        first, *more = train_settings(block.train, block.guide_train)
    except UserError as error:
        raise SpecError(
            f"controls: self, a guide of the target's own architecture, is trained, also beside "
            f"guide {entry.name!r} with weights; guide_{error}"
        ) from error
    if more:
        raise SpecError(
            f"controls: self, a guide of the target's own architecture, is trained, and train and "
            f"guide_train say in {1 + len(more)} ways how; beside guide {entry.name!r} with "
            "weights there can be one: give guide_train one value of each key"
        )
    return first


def _rows(
    block: Block,
    guidance: Guidance,
    parts: tuple[_Part, ...],
    baseline: Condition,
    *,
    in_state: bool = False,
) -> Iterator[Expanded]:
    """Guided conditions and their controls; their place has the guides `in_state` if asked."""
    terms = tuple(controls.canonical(term, baseline.task) for term in guidance.terms)
    _check(parts, terms[0].distance, baseline.task)
    alone = tuple(part.alone.condition(baseline, part.architecture) for part in parts)
    for state in block.states:
        chosen = _controls(block, terms[0].distance, parts, state, baseline.task)
        place = _place(terms, parts, state if in_state else None)
        for control, optional in chosen.items():
            built = controls.build(control)
            guides = (part.guide_in(state, built) for part in parts)
            shown = replace(
                guidance,
                terms=tuple(replace(t, guide=g) for t, g in zip(terms, guides, strict=True)),
            )
            condition = controls.guided(control, baseline, shown)
            label = replace(guidance, terms=place)
            yield Expanded(condition, baseline, alone, label, shown, control, optional)


def _check(parts: Sequence[_Part], distance: Component, task: Component) -> None:
    """Raise SpecError where a control that is part of a mixture has no meaning there."""
    for part in parts:
        if part.control != NO_CONTROL:
            refused = controls.refusal(part.control, distance, None, task)
            if refused is not None:
                raise SpecError(f"guides: mix: control {part.control.name} {refused}")


def _place(terms: Sequence[Term], parts: Sequence[_Part], state: State | None) -> tuple[Term, ...]:
    """Terms by which rows are labelled, the guides in a state if given, else untrained.

    A control that is alone is that of a row without one.
    """
    built = controls.build(NO_CONTROL)
    guides = (part.untrained if state is None else part.guide_in(state, built) for part in parts)
    placed = [replace(term, guide=guide) for term, guide in zip(terms, guides, strict=True)]
    if len(placed) == 1:
        return (replace(placed[0], control=NO_CONTROL),)
    return tuple(placed)


def _controls(
    block: Block, distance: Component, parts: Sequence[_Part], state: State, task: Component
) -> dict[Component, bool]:
    """Controls in the guides' places, `none` first, and whether each is optional.

    Controls that have no meaning for the guides are left out; those that are not named are
    optional. A control that stands alone in a mixture has none.
    """
    guides = [part for part in parts if part.control == NO_CONTROL]
    if not guides:
        return {parts[0].control: False}
    states = dict.fromkeys(part.state or state for part in guides)
    named = block.named_controls
    found: list[Component] = []
    for entry in block.controls:
        standard = [c for each in states for c in controls.standard(distance, each)]
        found += (standard if entry.is_standard else []) or entry.components()
    fit = {
        control: control not in named
        for control in found
        if any(controls.refusal(control, distance, each, task) is None for each in states)
    }
    return {NO_CONTROL: False, **fit}


def _trains_target(control: Component) -> bool:
    """Whether a control has the target's own architecture trained as a guide."""
    built = controls.build(control)
    return built.of_target and built.runs_guide
