"""What holds for every registered rival; new ones are tested by being there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import trainers
from tests.helpers.process_group import ProcessGroup
from tests.helpers.rivals import treated
from tests.helpers.worker_trials import train_trial
from trainers import rivals, tasks
from trainers.architectures import build_on_meta
from trainers.conditions.condition import Condition
from trainers.conditions.encoding import from_json, to_json
from trainers.conditions.ids import replicate_id
from trainers.cost import flops
from trainers.guides import pretrained
from trainers.messages import Ended, silent
from trainers.registry import Component
from trainers.rivals import RIVALS
from trainers.store.store import Store
from trainers.training import train
from trainers.training.rehearsal import Rehearsal

MakeCondition = Callable[..., Condition]
#: Every rival, and every control of one.
FORMS = [
    (name, control)
    for name in RIVALS.names()
    for control in ("none", *RIVALS[name].factory.controls)
]


@pytest.fixture(params=FORMS, ids="-".join)
def rival(request: Any, make: MakeCondition, tmp_path: Path) -> Condition:
    name, control = request.param
    return treated(make, name, tmp_path, control=control, optimizer="sgd")


def baseline(condition: Condition) -> Condition:
    return replace(condition, treatment=None)


def points(result: train.Result) -> Iterator[tuple[int, str, float]]:
    return ((p.step, p.metric, p.value) for p in result.history.points)


def test_it_is_described_and_fits_its_target(rival: Condition) -> None:
    assert rival.rival is not None
    assert RIVALS[rival.rival.method.name].summary.endswith(".")
    task = tasks.build(rival.task)
    rivals.check(rival.rival, build_on_meta(rival.target, task.input, task.output), task)
    Rehearsal().try_out(rival)
    assert from_json(json.loads(json.dumps(to_json(rival)))) == rival
    assert rival.role == ("rival" if rival.rival.control == "none" else "control")


def test_it_has_an_id_of_its_own_and_trains_otherwise(rival: Condition, tmp_path: Path) -> None:
    assert replicate_id(rival, 0) != replicate_id(baseline(rival), 0)
    found = trainers.train(rival, store=tmp_path, report=silent)
    plain = trainers.train(baseline(rival), report=silent)
    assert found.steps == plain.steps
    assert found.metrics["loss"] != plain.metrics["loss"]
    # The network that is left is an ordinary one.
    loaded = train.load(tmp_path, found.replicate_id).state_dict()
    assert loaded.keys() == plain.network.state_dict().keys()
    for name, tensor in found.network.state_dict().items():
        assert torch.equal(loaded[name], tensor)
    assert flops.training(rival) >= flops.training(baseline(rival))


@pytest.mark.parametrize("at", [2, 4])
def test_resumed_is_uninterrupted(
    rival: Condition, at: int, tmp_path: Path, same_result: Any, reports: Any,
    interruption: type[Exception],
) -> None:  # fmt: skip
    whole = trainers.train(rival, report=silent)
    with pytest.raises(interruption):
        trainers.train(rival, store=tmp_path, report=reports(interrupt_at=at))
    same_result(whole, trainers.train(rival, store=tmp_path, report=silent))


def test_two_workers_give_what_one_gives(
    rival: Condition, groups: Callable[[int], ProcessGroup], tmp_path: Path
) -> None:
    assert rival.rival is not None
    if rival.rival.method.name == "structured":
        # Of pixels that are always zero a convolution is constant over a batch: batch norm divides
        # it by almost nothing, and with it the difference between two orders of a sum.
        options = tuple(sorted({**dict(rival.target.options), "norm": "none"}.items()))
        rival = replace(rival, target=Component(name=rival.target.name, options=options))
    if rival.rival.weights is not None:
        # As a driver does before it starts workers.
        weights = rival.rival.weights
        pretrained.put(Store(tmp_path), weights, pretrained.obtain(weights))
    reports, _ = groups(2)(train_trial, str(tmp_path), [rival])
    assert [(r.status, r.error) for r in reports if isinstance(r, Ended)] == [("finished", None)]
    found = trainers.train(rival, store=tmp_path, report=silent)
    alone = trainers.train(rival, report=silent)
    assert found.metrics["loss"] == pytest.approx(alone.metrics["loss"], rel=1e-4)
    losses = [{k[:2]: k[2] for k in points(r) if k[1] == "train/loss"} for r in (found, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
