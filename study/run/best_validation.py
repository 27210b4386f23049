"""A note on replicates whose test split was not scored at their best validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from analysis.contract import Status
from study.plan.progress import Progress

if TYPE_CHECKING:
    import pandas as pd


def unscored_lines(progress: Progress, history: Callable[[], pd.DataFrame]) -> list[str]:
    """A line where finished replicates lack what the study asks for, so that columns are null.

    `history` makes the table of that name, which may be large.
    """
    asked = [
        replicate.id
        for replicate in progress.plan.replicates
        if replicate.planned.best_validation
        and progress.states[replicate.id].status == Status.finished
    ]
    if not asked:
        return []
    from analysis.baselines import unscored

    lacking = unscored(history(), asked)
    if not lacking:
        return []
    return [
        f"note: {len(lacking)} of {len(asked)} finished replicates were trained before "
        "baselines: best_validation was asked for, and what is finished is not trained again: "
        "baseline_best, guided_best and difference_best are null in their rows"
    ]
