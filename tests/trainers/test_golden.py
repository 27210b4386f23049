"""Literal results: numbers do not change by accident."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.process_group import ProcessGroup
from tests.trainers import golden

RECORDED = json.loads(golden.FILE.read_text())
CHANGED = (
    "training gives other numbers: where that is on purpose, raise RESULT_VERSION in "
    "trainers/conditions/condition.py (or the version of the task, architecture or distance), so "
    "that old replicates are not taken for new ones, and run `python -m tests.trainers.golden`"
)
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the literals are of a CPU")


def check(found: dict[str, Any], name: str) -> None:
    expected = dict(RECORDED["outcomes"][name])
    # Some were recorded on another type of CPU than the others.
    machine = expected.pop("machine", RECORDED["machine"])
    assert found["id"] == expected["id"], "ids change with a version alone"
    for loss in ("train/loss", "test/loss"):
        assert found[loss] == pytest.approx(expected[loss], rel=1e-5), CHANGED
    if golden.machine() == machine:
        assert found == expected, CHANGED


@pytest.mark.parametrize("name", golden.OPTIONS)
def test_golden(name: str) -> None:
    with golden.registered():
        check(golden.outcome(golden.condition(**golden.OPTIONS[name])), name)


def test_golden_of_two_workers(groups: Callable[[int], ProcessGroup], tmp_path: Path) -> None:
    check(groups(2)(golden.of_two_workers, str(tmp_path))[0], "two workers")


def test_every_outcome_is_recorded() -> None:
    assert set(RECORDED["outcomes"]) == {*golden.OPTIONS, "two workers"}
