"""Conditions of controls: the distances on which they have a meaning, in canonical form."""

from __future__ import annotations

from dataclasses import replace

from trainers import distances, tasks
from trainers.conditions.condition import Condition, Role
from trainers.conditions.guidance import Guidance, Guide
from trainers.controls.base import Compared, build
from trainers.mappings import MAPPINGS
from trainers.registry import Component


def compared(distance: Component) -> Compared:
    """Outputs that a distance compares: those of `taps`, or the networks' `answers`."""
    return "answers" if distances.of_logits(distance.name) else "taps"


def applies(name: str, distance: Component) -> bool:
    """Whether a control has a meaning for a distance."""
    return compared(distance) in build(name).guides


def canonical(guidance: Guidance, task: Component) -> Guidance:
    """A guidance with settings that have no effect at their defaults.

    A distance of answers has one pair and no taps to map, and its rows follow from the task.
    """
    if compared(guidance.distance) == "taps":
        return guidance
    per_position = tasks.build(task).output.per_position
    return replace(
        guidance,
        mapping=MAPPINGS.component("evenly_spaced"),
        reduction="sum",
        rows="tokens" if per_position else "examples",
    )


def guided(name: str, baseline: Condition, guidance: Guidance) -> Condition:
    """A baseline's target under a canonical guidance, with the control `name` in the guide's place.

    `guidance` has the guide in its own state; it is adapted to the control here.
    """
    guide, control = guidance.guide, build(name)
    if not control.runs_guide:
        guide = Guide(architecture=guide.architecture, state=None)
    if control.of_target:
        guide = replace(guide, architecture=baseline.target)
    guidance = replace(guidance, guide=guide, control=name)
    if not control.sees_inputs:
        guidance = replace(guidance, guide_inputs="same")
    role: Role = "guided" if name == "none" else "control"
    return replace(baseline, role=role, guidance=guidance)
