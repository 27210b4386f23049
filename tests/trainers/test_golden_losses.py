"""Literal results: numbers do not change by accident."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import trainers
from trainers.condition import Condition

#: The image's optimiser is SGD: Adam divides a gradient that is nothing but rounding, as that of a
#: bias before batch norm, by its own size, and so gives other numbers on every type of CPU.
CONDITIONS: dict[str, tuple[dict[str, Any], float]] = {
    "guided image": (
        {"control": "none", "state": "trained", "target": {"dropout": 0.2}, "optimizer": "sgd"},
        2.38381287690731,
    ),
    "token": ({"kind": "token", "lr_schedule": "cosine", "weight_decay": 0.1}, 1.0816773154534083),
}


@pytest.mark.skipif(torch.cuda.is_available(), reason="the literals are those of a CPU")
@pytest.mark.parametrize("name", CONDITIONS)
def test_golden_loss(name: str, make: Callable[..., Condition]) -> None:
    options, expected = CONDITIONS[name]
    result = trainers.train(make(**options), report=lambda payload: None)
    assert result.metrics["loss"] == pytest.approx(expected, rel=1e-6), (
        "training gives other numbers: where that is on purpose, raise RESULT_VERSION in "
        "trainers/condition.py (or the version of the task, architecture or distance), so that "
        "old replicates are not taken for new ones, and put the new loss here"
    )
