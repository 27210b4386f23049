"""The alignment of a finished replicate, repeated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import trainers
from tests.helpers.conditions import changed
from trainers.conditions.condition import Condition
from trainers.conditions.schedule import AlignFirst, Schedule
from trainers.errors import UserError
from trainers.messages import silent
from trainers.store.store import Store
from trainers.training.aligned import aligned
from trainers.training.loop import Run

MakeCondition = Callable[..., Condition]
DROPOUT = {"target": {"dropout": 0.3}}
CONDITIONS: dict[str, tuple[dict[str, Any], AlignFirst]] = {
    "batch norm and dropout": ({"state": "trained"} | DROPOUT, AlignFirst(steps=3)),
    "noise": ({}, AlignFirst(steps=3, inputs="noise")),
    "redrawn": ({}, AlignFirst(steps=3, inputs="redrawn")),
    "up to a report": ({}, AlignFirst(steps=4)),
    "shuffled": ({"control": "shuffled"}, AlignFirst(steps=3)),
    "tokens": ({"kind": "token"}, AlignFirst(steps=3)),
}


@pytest.fixture
def began(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """The state of the network that was trained last, when its first step on the task began."""
    seen: dict[str, Tensor] = {}
    train_loss = Run.train_loss

    def spy(run: Run, step: int, outputs: dict[str, Tensor]) -> Any:
        if step == 0:
            seen.clear()
            seen.update({name: t.clone() for name, t in run.network.state_dict().items()})
        return train_loss(run, step, outputs)

    monkeypatch.setattr(Run, "train_loss", spy)
    return seen


@pytest.mark.parametrize("name", CONDITIONS)
def test_it_is_that_of_the_training(
    name: str, make: MakeCondition, began: dict[str, Tensor], tmp_path: Path
) -> None:
    options, first = CONDITIONS[name]
    made = make(**{"control": "none"} | options)
    condition = changed(made, schedule=Schedule(align_first=first))
    result = trainers.train(condition, seed=3, store=tmp_path, report=silent)
    expected = dict(began)
    began.clear()
    torch.manual_seed(5)
    found = aligned(Store(tmp_path), result.replicate_id)
    assert not began
    state = found.network.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[each], expected[each]) for each in expected)
    assert found.same_numbers
    assert (found.condition, found.seed, found.steps) == (condition, 3, first.steps)
    assert found.before == {p.metric: p.value for p in result.history.points if p.step == 0}
    assert "train/distance" in found.after


def test_the_store_is_left_as_it_is(make: MakeCondition, tmp_path: Path) -> None:
    schedule = Schedule(align_first=AlignFirst(steps=3))
    condition = changed(make(control="none", state="trained"), schedule=schedule)
    result = trainers.train(condition, store=tmp_path, report=silent)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    aligned(Store(tmp_path), result.replicate_id)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_what_it_needs(
    make: MakeCondition, tmp_path: Path, reports: Any, interruption: type[Exception]
) -> None:
    store = Store(tmp_path)
    schedule = Schedule(align_first=AlignFirst(steps=3))
    condition = changed(make(control="none", state="trained"), schedule=schedule)
    name = store.replicate_of(condition, 0).id
    with pytest.raises(UserError, match=f"replicate {name} is not finished in"):
        aligned(store, name)
    with pytest.raises(interruption):
        trainers.train(condition, store=tmp_path, report=reports(interrupt_at=4))
    with pytest.raises(UserError, match=f"replicate {name} is not finished in"):
        aligned(store, name)
    trainers.train(condition, store=tmp_path, report=silent)
    guide = store.replicate_of(condition.guide_conditions[0], 0)
    guide.discard()
    with pytest.raises(UserError, match=f"guide {guide.id} has no weights in the store"):
        aligned(store, name)
    assert guide.folder.names() == []
    for other in (make(), make(control="none")):
        plain = trainers.train(other, store=tmp_path, report=silent)
        with pytest.raises(UserError, match="no alignment comes before its training; one does"):
            aligned(store, plain.replicate_id)
