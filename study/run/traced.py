"""The replicate of a run whose training steps are profiled, where that is asked."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from analysis.contract import Role
from study.plan.replicates import Replicate


def chosen(todo: Sequence[Replicate], *, profile: bool) -> str | None:
    """Id of the first guided replicate that is left to train, else of the first that has steps.

    A guided one has all parts of a step: target, guide, distance. None unless `profile`; a line
    says so where there is nothing to train.
    """
    if not profile:
        return None
    trained = [replicate for replicate in todo if replicate.num_steps]
    guided = [replicate for replicate in trained if replicate.role == Role.guided]
    if not trained:
        print("--profile: nothing is left to train, so there is no trace", file=sys.stderr)
        return None
    return (guided or trained)[0].id
