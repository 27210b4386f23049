"""Baselines that get the compute of a guided condition: unguided trainings of more steps."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

from trainers import tasks
from trainers.conditions.cache_form import Cache
from trainers.conditions.condition import Condition
from trainers.cost import flops
from trainers.errors import UserError
from trainers.registry import derived

#: Steps are rounded up to this part of the condition's own: many conditions share a baseline.
_PARTS = 20
#: Quotients of floats that stand for whole numbers are off by less.
_ROUNDING = 1e-9


def guided_flops(condition: Condition) -> float:
    """Floating-point operations of a condition's training, without any cache.

    A cache is part of how a study runs: who guides once has no use for it.
    """
    assert condition.guidance is not None
    live = Cache(form="live", feature_bytes=0)
    terms = tuple(replace(term, cache=live) for term in condition.terms)
    # Conditions that differ in alpha alone cost the same, and a grid may have thousands.
    schedule = replace(condition.guidance.schedule, alpha=1.0, scale_alpha=False)
    guidance = replace(condition.guidance, terms=terms, schedule=schedule)
    return operations(condition.with_guidance(guidance))


def matched_baseline(
    condition: Condition, baseline: Condition | None = None, *, guide_training: bool = False
) -> Condition | None:
    """The baseline of a guided condition with as many floating-point operations, or just above.

    `baseline` has the settings that it is to have but for its length: after a search they are not
    those of the condition, from which they are taken by default. With S the steps of the condition
    and F operations of one, it has

        S' = S (F_target + F_guide + F_distance) / F_target

    steps, rounded up to a twentieth of S: fewer where guidance stops or is on in some steps alone,
    more by steps of alignment alone. Its learning-rate schedule spans them all. With
    `guide_training` it gets what the guide's own training took, too; None where the study trains no
    guide. Raises UserError where the operations of the target are not counted.
    """
    baseline = baseline or replace(condition, treatment=None)
    total = guided_flops(condition)
    if guide_training:
        guides = condition.guide_conditions
        if not guides:
            return None
        total += sum(map(operations, guides))
    alone = operations(baseline)
    if not alone:
        raise UserError(
            f"target {condition.target.name!r} has no operations that are counted (products, "
            "convolutions and attention): no baseline can be matched to its guidance"
        )
    steps = baseline.train.num_steps(tasks.build(baseline.task).num_train)
    parts = math.ceil(_PARTS * total / alone - _ROUNDING)
    if parts <= _PARTS:
        return baseline
    train = replace(baseline.train, epochs=None, steps=-(-parts * steps // _PARTS))
    return replace(baseline, train=train)


@derived
@lru_cache(maxsize=1024)
def operations(condition: Condition) -> float:
    """Operations of a training, counted once for equal conditions; see `flops.training`."""
    return flops.training(condition)
