"""A small study with a search, and results of candidates that are made up."""

from __future__ import annotations

import math
from typing import Any

from study import Study
from study.plan.build import Plan
from trainers.conditions.condition import Condition
from trainers.conditions.ids import replicate_id

SEARCH: dict[str, Any] = {
    "budget": 3,
    "batch": 2,
    "seeds": [100, 101],
    "select": "validation/accuracy",
    "space": {
        "train.lr": {"low": 1e-4, "high": 1, "log": True},
        "targets.dropout": [0, 0.1],
        "schedule.alpha": [1, 3],
    },
}
SPEC: dict[str, Any] = {
    "name": "tuned",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 2, "width": 8}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "states": ["trained"],
    "controls": ["shuffled", "input"],
    "seeds": 2,
    "train": {"steps": 4, "batch_size": 50, "report_every": 2},
    "guide_train": {"steps": 2},
    "search": SEARCH,
}


class MadeUp:
    """Results that follow from ids; `ended` are those known (None: all), `failed` have failed."""

    def __init__(self, ended: set[str] | None = None, failed: set[str] | None = None) -> None:
        self.ended, self.failed = ended, failed or set()

    def value(self, condition: Condition, seed: int, metric: str) -> float | None:
        assert metric == "validation/accuracy"
        identifier = replicate_id(condition, seed)
        if self.ended is not None and identifier not in self.ended:
            return None
        return math.nan if identifier in self.failed else int(identifier[:4], 16) / 16**4


def planned(results: Any = None, **changes: Any) -> Plan:
    study = Study(**{**SPEC, **changes})
    return study.plan() if results is None else study.plan(results=results)


def grown(**changes: Any) -> list[Plan]:
    """The plans of a run, each after all replicates of the one before have ended."""
    plans = [planned(**changes)]
    while plans[-1].later:
        plans.append(planned(MadeUp({r.id for r in plans[-1].replicates}), **changes))
    return plans
