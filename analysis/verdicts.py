"""Verdicts on guided conditions and rivals: whether they help, and by what is their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from analysis import equivalence
from analysis.cells import Cell, Metric
from analysis.failures import Arms
from analysis.statistics import PairedDifference
from analysis.verdict_words import (
    CONTROL,
    DESCRIPTIVE,
    HELPS,
    HELPS_SPECIFIC,
    HURTS,
    NO_EFFECT,
    NO_MORE,
    OPEN,
    PRIOR_SPECIFIC,
    RIVAL_HELPS,
    Kind,
    kind,
    no_more_than,
)

__all__ = [
    "CONTROL", "DESCRIPTIVE", "HELPS", "HELPS_SPECIFIC", "HURTS", "NO_EFFECT", "NO_MORE", "OPEN",
    "PRIOR_SPECIFIC", "RIVAL_HELPS", "Evidence", "Kind", "adjusted", "kind", "missing_controls",
    "no_more_than", "of_rival", "uncompared_controls", "verdict",
]  # fmt: skip

#: Largest adjusted p value of an effect that is established in `verdict_adjusted`.
FALSE_DISCOVERY_RATE = 0.05


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The numbers that decide a verdict, all signed so that positive is better.

    `difference` is guided minus baseline, `worst` and `best` the same with lost seeds at their
    worst and at their best; equal to it where `num_failed` is 0. `specifics` holds guided minus
    control for each comparable control that was planned, `missing` what is missing for these
    controls to decide. `margin`, if any, is the largest effect that counts as none.
    """

    difference: PairedDifference
    worst: PairedDifference
    best: PairedDifference
    num_failed: int = 0
    specifics: Mapping[str, PairedDifference] = field(default_factory=dict)
    missing: Sequence[str] = ()
    margin: float | None = None

    @property
    def helps(self) -> bool:
        """Whether the difference is above zero, whatever the failed seeds would have shown."""
        return self.difference.positive and (not self.num_failed or self.worst.positive)

    @property
    def hurts(self) -> bool:
        """Whether the difference is below zero, whatever the failed seeds would have shown."""
        return self.difference.negative and (not self.num_failed or self.best.negative)


def verdict(evidence: Evidence) -> str:
    """The verdict on a guided condition.

    An effect that is smaller than the margin counts as none, also where its interval excludes zero,
    but not where a seed failed, since a failure is an effect. Guidance is specific to the guide if
    the difference and guided minus *every* planned control have intervals above zero, and nothing
    is missing: each must hold, so no correction is needed (intersection-union).
    """
    difference, specifics = evidence.difference, evidence.specifics
    tested = equivalence.equivalence(difference, evidence.margin)
    if tested.equivalent and not evidence.num_failed:
        return NO_EFFECT
    if evidence.hurts:
        return HURTS
    if not evidence.helps:
        return OPEN
    control = _no_better_than(evidence)
    if control is not None:
        return NO_MORE.format(control=control)
    beaten = bool(specifics) and all(specific.positive for specific in specifics.values())
    return HELPS_SPECIFIC if beaten and not evidence.missing else HELPS


def of_rival(found: str, cell: Cell) -> str:
    """The words for a rival of a `verdict`: about its guide, its prior, or neither.

    A rival with controls has a guide if it has pairs of taps, else a prior.
    """
    if found == HELPS and not cell.required_controls:
        return RIVAL_HELPS
    if found == HELPS_SPECIFIC and cell.num_pairs is None:
        return PRIOR_SPECIFIC
    return found


def adjusted(found: str, p_adjusted: float) -> str:
    """A verdict, or "not established" where its effect does not hold among its whole family.

    `p_adjusted` may be NaN. That there is no effect within the margin is not of the family.
    """
    stays = found == NO_EFFECT or p_adjusted < FALSE_DISCOVERY_RATE
    return found if stays else OPEN


def missing_controls(cell: Cell, controls: Sequence[Cell], metric: Metric) -> list[str]:
    """Controls without which a guided condition's effect is not the guide's, with the reason.

    These are required controls that were not planned, or have another number of pairs, and planned
    ones that lack a value at a seed of the row: one at which baseline and guided have theirs. Where
    guided seeds failed, also those that are beaten by the others alone: not with the failed seeds
    at chance.
    """
    planned = {str(control.condition.control): control for control in controls}
    seeds = metric.shared(cell)
    missing = []
    for name in dict.fromkeys((*cell.required_controls, *planned)):
        control = planned.get(name)
        if control is None:
            missing.append(f"{name} (not planned)")
        elif not cell.comparable(control):
            if name in cell.required_controls:
                missing.append(f"{name} ({_pairs(cell, control)})")
        elif (n := len(metric.shared(cell, control))) < len(seeds):
            missing.append(f"{name} ({n} of {len(seeds)} seeds)")
        elif metric.compare(cell, control).positive and not _beaten_at_worst(cell, control, metric):
            missing.append(f"{name} (not beaten with failed seeds at chance)")
    return missing


def _beaten_at_worst(cell: Cell, control: Cell, metric: Metric) -> bool:
    """Whether guided minus a control is above zero whatever failed guided seeds would have shown.

    True where none failed, and where chance is not known: nothing is said to help then.
    """
    pairs = [
        (control.members[baseline].replicate_id, member.replicate_id)
        for baseline, member in cell.members.items()
        if baseline in control.members
    ]
    controls, guided = zip(*pairs, strict=True)
    arms = Arms(metric=metric, baselines=controls, guided=guided)
    known = arms.num_failed_guided and metric.chance is not None
    return not known or arms.worst().positive


def uncompared_controls(cell: Cell, controls: Sequence[Cell]) -> list[str]:
    """Planned controls with another number of pairs, which decide nothing, with that number."""
    return [
        f"{control.condition.control} ({_pairs(cell, control)})"
        for control in controls
        if not cell.comparable(control)
    ]


def _pairs(cell: Cell, control: Cell) -> str:
    return f"{control.num_pairs} pairs against {cell.num_pairs}"


def _no_better_than(evidence: Evidence) -> str | None:
    """The control that guidance beats by less than the margin, if any; the least beaten of them."""
    found = {
        name: specific.mean
        for name, specific in evidence.specifics.items()
        if specific.n == evidence.difference.n
        and specific.mean is not None
        and equivalence.equivalence(specific, evidence.margin).no_more
    }
    return min(found, key=found.__getitem__, default=None)
