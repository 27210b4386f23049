"""The conditions of a control: which distances it has a meaning for, and what plays no part."""

from __future__ import annotations

from dataclasses import replace

from trainers import distances, tasks
from trainers.conditions.condition import Condition, Role
from trainers.conditions.guidance import Guidance, Guide
from trainers.controls.base import Compared, build
from trainers.mappings import MAPPINGS
from trainers.registry import Component


def compared(distance: Component) -> Compared:
    """What a distance is of: outputs of taps, or the networks' answers."""
    return "answers" if distances.of_logits(distance.name) else "taps"


def applies(name: str, distance: Component) -> bool:
    """Whether a control has a meaning for a distance."""
    return compared(distance) in build(name).guides


def canonical(guidance: Guidance, task: Component) -> Guidance:
    """A guidance with what plays no part at its default.

    Answers have no taps to map, they are one pair, and their rows are those of the task.
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
    """A baseline's target under a canonical guidance, the control `name` in the guide's place.

    The guide has the state that it has where it guides itself.
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
