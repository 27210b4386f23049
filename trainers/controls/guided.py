"""Conditions of controls: where they have a meaning, and their canonical form."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from trainers import architectures, distances, mappings, tasks
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import NO_CONTROL, Guidance, Guide, State, Term
from trainers.conditions.registries import CONTROLS
from trainers.controls.base import Compared, Control, build
from trainers.errors import UserError
from trainers.mappings import MAPPINGS
from trainers.registry import Component, derived

#: Target taps and weights of a term's pairs; see `Term.shown_at`.
ShownAt = tuple[tuple[str, float], ...]


def compared(distance: Component) -> Compared:
    """Outputs that a distance compares: those of `taps`, or the networks' `answers`."""
    return "answers" if distances.of_logits(distance.name) else "taps"


def refusal(
    control: Component, distance: Component, state: State | None, task: Component
) -> str | None:
    """The reason why a control has no meaning in the place of a guide in a state; None if it has.

    Raises UserError if there is no such control.
    """
    built, of = build(control), compared(distance)
    if of not in built.guides:
        return (
            f"has no meaning for distance {distance.name!r}, which is of {of}; it is for "
            f"{' and '.join(built.guides)}"
        )
    if state is not None and state not in built.states:
        return f"has no meaning for a guide that is {state}; it is for {' and '.join(built.states)}"
    try:
        built.check(tasks.build(task))
    except UserError as error:
        return f"has no meaning on task {task.name!r}: {error}"
    return None


@derived
@lru_cache(maxsize=256)
def standard(distance: Component, state: State | None) -> tuple[Component, ...]:
    """Controls without which a gain from a guide in a state cannot be called the guide's.

    Those that run the guide come first.
    """
    components = map(CONTROLS.component, CONTROLS.names())
    found = [
        (not built.runs_guide, control)
        for control in components
        if (built := build(control)).standard
        and compared(distance) in built.guides
        and state in built.states
    ]
    return tuple(control for _, control in sorted(found, key=lambda each: each[0]))


def canonical(term: Term, task: Component) -> Term:
    """A term with settings that have no effect at their defaults.

    A distance of answers has one pair and no taps to map, and its rows follow from the task.
    """
    if compared(term.distance) == "taps":
        return term
    per_position = tasks.build(task).output.per_position
    return replace(
        term,
        mapping=MAPPINGS.component("evenly_spaced"),
        reduction="sum",
        rows="tokens" if per_position else "examples",
    )


def guided(control: Component, baseline: Condition, guidance: Guidance) -> Condition:
    """A baseline's target under guidance of canonical terms, with a control in the guides' place.

    `guidance` has the guides in their own state; they are adapted to the control here. A term that
    has a control already, as a part of a mixture, keeps it.
    """
    own = [control if term.control == NO_CONTROL else term.control for term in guidance.terms]
    terms = tuple(_controlled(*each, baseline) for each in zip(own, guidance.terms, strict=True))
    guidance = replace(guidance, terms=terms)
    if not any(build(each).sees_inputs for each in own):
        guidance = replace(guidance, guide_inputs="same")
    return replace(baseline, treatment=guidance)


def _controlled(control: Component, term: Term, baseline: Condition) -> Term:
    built = build(control)
    guide, mapping, shown_at = term.guide, term.mapping, None
    if not built.runs_guide:
        guide = Guide(architecture=guide.architecture, state=None)
    if built.of_target:
        guide = replace(guide, architecture=baseline.target)
        if compared(term.distance) == "taps":
            shown_at = _shown_at(built, baseline, term)
        if shown_at is not None:
            # The pairs follow from the row's mapping and guide, which have no further effect.
            mapping = MAPPINGS.component("evenly_spaced")
    return replace(term, guide=guide, control=control, mapping=mapping, shown_at=shown_at)


def _shown_at(built: Control, baseline: Condition, term: Term) -> ShownAt | None:
    """Target taps, in depth order, and weights of the pairs of a control of the target's taps.

    They are those of the term's own guide. None if the mapping pairs the control's taps as well,
    or if it needs networks to pair any.
    """
    target = _taps(baseline.target, baseline.task)
    guide = _taps(term.guide.architecture, baseline.task)
    unknown: list[Tensor] = []

    def similarity() -> Tensor:
        unknown.append(torch.zeros(len(guide), len(target)))
        return unknown[0]

    mapped = mappings.pairs_of(term.mapping, term.distance, target, guide, similarity)
    if unknown:
        return None
    pairs = built.pairs(mapped, target, guide)
    shown = _in_order([(pair.target, pair.weight) for pair in pairs], target)
    if built.runs_guide and shown == _of_own_taps(term, target):
        return None
    return shown


def _of_own_taps(term: Term, target: tuple[str, ...]) -> ShownAt | None:
    """The pairs if the mapping gives each of the target's taps that of the same name, else None."""
    try:
        own = mappings.pairs_of(term.mapping, term.distance, target, target)
    except UserError:
        return None
    if any(pair.target != pair.guide for pair in own):
        return None
    return _in_order([(pair.target, pair.weight) for pair in own], target)


def _in_order(shown: list[tuple[str, float]], target: tuple[str, ...]) -> ShownAt:
    return tuple(sorted(shown, key=lambda each: (target.index(each[0]), each[1])))


@derived
@lru_cache(maxsize=256)
def _taps(architecture: Component, task: Component) -> tuple[str, ...]:
    built = tasks.build(task)
    return architectures.build_on_meta(architecture, built.input, built.output).taps
