"""The baselines of a guided condition at equal compute, before they are planned."""

from __future__ import annotations

from typing import NamedTuple

from study.errors import SpecError
from trainers.conditions.condition import Condition
from trainers.cost.matched import guided_flops, matched_baseline
from trainers.errors import UserError


class Equal(NamedTuple):
    """Baselines with the operations of a guided condition (`flops`).

    `full` has those of its guide's own training, too; None where the study trains no guide.
    """

    baseline: Condition
    full: Condition | None
    flops: float


def at_equal_compute(condition: Condition, baseline: Condition) -> Equal:
    """The baselines of a guided condition, with the settings of its plain `baseline`.

    Raises SpecError where operations are not counted.
    """
    try:
        matched = matched_baseline(condition, baseline)
        full = matched_baseline(condition, baseline, guide_training=True)
    except UserError as error:
        raise SpecError(f"baselines: matched: {error}") from error
    assert matched is not None
    return Equal(matched, full, guided_flops(condition))
