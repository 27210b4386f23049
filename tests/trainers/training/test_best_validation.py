"""Test metrics at the report of best validation: recorded beside a training that stays the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import trainers
from trainers import tasks
from trainers.conditions.condition import Condition
from trainers.messages import silent
from trainers.store.tables import History
from trainers.training.best_validation import TEST_AT_BEST, BestValidation
from trainers.training.train import Result

MakeCondition = Callable[..., Condition]
SameResult = Callable[[Result, Result], None]
#: Validation accuracy peaks well before the end: with this rate it goes up and down.
UNSTEADY: dict[str, Any] = {"steps": 24, "optimizer": "sgd", "lr": 1.0}


def values(result: Result, metric: str) -> dict[int, float]:
    return {p.step: p.value for p in result.history.points if p.metric == metric}


def test_the_best_report_is_the_first_of_the_highest(make: MakeCondition) -> None:
    task = tasks.build(make().task)
    best = BestValidation(task)
    reports = [0.2, 0.5, 0.4, 0.5, float("nan"), float("inf"), 0.6]
    found = [best.improves({"validation/accuracy": value}) for value in reports]
    assert found == [True, True, False, False, False, False, True]
    assert not best.improves({})


def test_a_lower_loss_is_better(make: MakeCondition, monkeypatch: pytest.MonkeyPatch) -> None:
    task = tasks.build(make().task)
    monkeypatch.setattr(task, "primary_metric", "loss", raising=False)
    best = BestValidation(task)
    assert [best.improves({"validation/loss": v}) for v in (2.0, 3.0, 1.0)] == [True, False, True]


def test_a_history_goes_on_where_it_stopped(make: MakeCondition) -> None:
    history = History("id")
    # The report before the first step does not count.
    for step, value in ((0, 0.9), (2, 0.3), (4, 0.5), (6, 0.4)):
        history.add(step, 0, {"validation/accuracy": value, "validation/loss": 1.0})
    best = BestValidation(tasks.build(make().task))
    best.resume(history)
    assert not best.improves({"validation/accuracy": 0.5})
    assert best.improves({"validation/accuracy": 0.51})


def test_the_test_split_is_scored_at_the_peak(make: MakeCondition) -> None:
    condition = make(**UNSTEADY)
    result = trainers.train(condition, report=silent, best_validation=True)
    validation = values(result, "validation/accuracy")
    del validation[0]
    best = max(validation, key=lambda step: (validation[step], -step))
    assert best < result.steps
    scored = values(result, f"{TEST_AT_BEST}accuracy")
    assert max(scored) == best
    highest = [step for step in validation if all(
        validation[step] > validation[before] for before in validation if before < step
    )]  # fmt: skip
    assert list(scored) == highest
    # A run of just so many steps ends where this one was best.
    shorter = replace(condition, train=replace(condition.train, steps=best))
    ended = trainers.train(shorter, report=silent)
    assert scored[best] == ended.metrics["accuracy"]
    assert values(result, f"{TEST_AT_BEST}loss")[best] == ended.metrics["loss"]
    assert result.metrics["accuracy"] != ended.metrics["accuracy"]


def test_a_run_that_is_best_at_its_end_has_the_same_test_value_twice(make: MakeCondition) -> None:
    result = trainers.train(
        make(steps=2, report_every=2, lr=1e-3), report=silent, best_validation=True
    )
    assert values(result, f"{TEST_AT_BEST}accuracy") == {2: result.metrics["accuracy"]}


@pytest.mark.parametrize(
    "run",
    [
        {**UNSTEADY},
        {"control": "none", "state": "trained", "target": {"dropout": 0.3}},
        {"kind": "token", "control": "shuffled"},
    ],
)
def test_training_is_the_same_to_the_last_bit(
    run: dict[str, Any], make: MakeCondition, same_result: SameResult
) -> None:
    condition = make(**run)
    plain = trainers.train(condition, report=silent)
    scored = trainers.train(condition, report=silent, best_validation=True)
    rest = [p for p in scored.history.points if not p.metric.startswith(TEST_AT_BEST)]
    assert len(rest) < len(scored.history.points)
    same_result(plain, replace(scored, history=History(scored.replicate_id, rest)))


@pytest.mark.parametrize("at", [4, 8, 14, 20])
def test_a_resumed_run_knows_its_best(
    at: int, make: MakeCondition, tmp_path: Path, same_result: SameResult, reports: Any,
    interruption: type[Exception],
) -> None:  # fmt: skip
    condition = make(**UNSTEADY)
    whole = trainers.train(condition, report=silent, best_validation=True)
    with pytest.raises(interruption):
        trainers.train(
            condition, store=tmp_path, report=reports(interrupt_at=at), best_validation=True
        )
    resumed = trainers.train(condition, store=tmp_path, report=silent, best_validation=True)
    same_result(whole, resumed)


def test_a_run_that_is_asked_later_knows_the_best_before(
    make: MakeCondition, tmp_path: Path, reports: Any, interruption: type[Exception]
) -> None:
    condition = make(**UNSTEADY)
    whole = trainers.train(condition, report=silent, best_validation=True)
    with pytest.raises(interruption):
        trainers.train(condition, store=tmp_path, report=reports(interrupt_at=8))
    resumed = trainers.train(condition, store=tmp_path, report=silent, best_validation=True)
    scored = values(whole, f"{TEST_AT_BEST}accuracy")
    later = {step: value for step, value in scored.items() if step > 8}
    assert values(resumed, f"{TEST_AT_BEST}accuracy") == later
