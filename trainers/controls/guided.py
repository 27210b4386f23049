"""Conditions of controls: the distances on which they have a meaning, in canonical form."""

from __future__ import annotations

from dataclasses import replace

from trainers import distances, tasks
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guidance, Guide, Term
from trainers.controls.base import Compared, Control, build
from trainers.mappings import MAPPINGS
from trainers.registry import Component


def compared(distance: Component) -> Compared:
    """Outputs that a distance compares: those of `taps`, or the networks' `answers`."""
    return "answers" if distances.of_logits(distance.name) else "taps"


def applies(control: Component, distance: Component) -> bool:
    """Whether a control has a meaning for a distance."""
    return compared(distance) in build(control).guides


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

    `guidance` has the guides in their own state; they are adapted to the control here.
    """
    built = build(control)
    terms = tuple(_controlled(control, built, baseline, term) for term in guidance.terms)
    guidance = replace(guidance, terms=terms)
    if not built.sees_inputs:
        guidance = replace(guidance, guide_inputs="same")
    return replace(baseline, treatment=guidance)


def _controlled(control: Component, built: Control, baseline: Condition, term: Term) -> Term:
    guide = term.guide
    if not built.runs_guide:
        guide = Guide(architecture=guide.architecture, state=None)
    if built.of_target:
        guide = replace(guide, architecture=baseline.target)
    return replace(term, guide=guide, control=control)
