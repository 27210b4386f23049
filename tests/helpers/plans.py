"""Two small specs, and their plans with changes."""

from __future__ import annotations

from typing import Any

from study import Study
from study.plan.build import Plan

IMAGES: dict[str, Any] = {
    "name": "images",
    "task": "translated_digits",
    "targets": ["fcn"],
    "guides": ["resnet2d"],
    "controls": ["shuffled", "input"],
    "seeds": 2,
    "train": {"epochs": 2},
}
TOKENS: dict[str, Any] = {
    "name": "tokens",
    "task": "copy_paste",
    "targets": ["rnn"],
    "guides": ["transformer"],
    "controls": [],
    "seeds": 2,
    "train": {"steps": 10},
}


def plan_of(base: dict[str, Any] = IMAGES, **changes: Any) -> Plan:
    return Study(**{**base, **changes}).plan()
