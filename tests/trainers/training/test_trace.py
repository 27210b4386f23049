"""A trace of a few steps: where it lies, which steps it has, and a training that stays the same."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trainers
from trainers.conditions.condition import Condition
from trainers.guides.pool import GuidePool
from trainers.messages import Message, Traced, silent
from trainers.store.checkpoint import CheckpointEvery
from trainers.store.lease import Lease
from trainers.store.store import Store
from trainers.training import train
from trainers.training.saving import Saver, StopRequestedError
from trainers.training.trace import SKIPPED_STEPS, TRACED_STEPS, WARM_UP_STEPS

pytestmark = pytest.mark.processes

MakeCondition = Callable[..., Condition]
SameResult = Callable[[train.Result, train.Result], None]


def traced(
    condition: Condition, folder: Path, stop: Callable[[], bool] = lambda: False
) -> tuple[train.Result, list[Message]]:
    """The result of a replicate of which a trace is written, and its messages."""
    store, messages = Store(folder), list[Message]()
    replicate = store.replicate_of(condition, 0)
    saver = Saver(replicate, CheckpointEvery(steps=1), stop=stop)
    with Lease(replicate.folder):
        result = train.train_held(
            condition, 0, store, messages.append, saver, GuidePool(), trace=True
        )
    return result, messages


def steps_of(folder: Path, replicate_id: str) -> list[str]:
    """The steps of a trace, which also has operators, modules and functions of ours."""
    content = json.loads(
        gzip.decompress((folder / f"profiles/{replicate_id}.json.gz").read_bytes())
    )
    names = [event["name"] for event in content["traceEvents"]]
    for part in ("aten::addmm", "nn.Module: Linear", "loop.py", "guided_loss.py"):
        assert any(part in name for name in names), part
    return sorted(name for name in names if name.startswith("ProfilerStep#"))


@pytest.mark.parametrize("run", [{}, {"target": {"dropout": 0.3}}])
def test_the_result_is_the_same_to_the_last_bit(
    run: dict[str, Any], make: MakeCondition, tmp_path: Path, same_result: SameResult
) -> None:
    condition = make(control="none", steps=24, report_every=7, **run)
    result, messages = traced(condition, tmp_path)
    same_result(trainers.train(condition, report=silent), result)
    (message,) = [each for each in messages if isinstance(each, Traced)]
    path = tmp_path / "profiles" / f"{result.replicate_id}.json.gz"
    assert message == Traced(replicate_id=result.replicate_id, path=str(path))
    first = SKIPPED_STEPS + WARM_UP_STEPS
    expected = [f"ProfilerStep#{first + step}" for step in range(TRACED_STEPS)]
    assert steps_of(tmp_path, result.replicate_id) == expected


@pytest.mark.parametrize(("steps", "first", "count"), [(1, 0, 1), (6, 1, 5), (8, 3, 5)])
def test_a_short_training_is_traced_at_its_end(
    steps: int, first: int, count: int, make: MakeCondition, tmp_path: Path
) -> None:
    result, _ = traced(make(control="none", steps=steps), tmp_path)
    found = steps_of(tmp_path, result.replicate_id)
    assert found == [f"ProfilerStep#{first + step}" for step in range(count)]


def test_steps_are_counted_from_where_a_training_goes_on(
    make: MakeCondition, tmp_path: Path
) -> None:
    condition = make(control="none", steps=12)
    asked = iter(range(100))
    with pytest.raises(StopRequestedError):
        traced(condition, tmp_path, stop=lambda: next(asked) == 8)
    assert not (tmp_path / "profiles").exists()
    result, _ = traced(condition, tmp_path)
    assert len(steps_of(tmp_path, result.replicate_id)) == 3
