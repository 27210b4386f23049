"""Trials of an arm, batch by batch, and the one that is chosen."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from study.errors import SpecError
from study.search.arm import NO_RESULTS, Arm, Results, form_of, searched
from study.search.arms import Arms
from study.search.points import Point, applied
from study.spec.read import read
from study.spec.search import Search
from tests.helpers.search import SEARCH, SPEC
from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guidance, Guide, Term
from trainers.conditions.schedule import Schedule
from trainers.conditions.training import TrainSettings
from trainers.tasks import TASKS

BASELINE = Condition(
    task=TASKS.component("translated_digits"),
    target=ARCHITECTURES.component("fcn"),
    train=TrainSettings(steps=4),
)
GUIDE = Guide(
    architecture=ARCHITECTURES.component("resnet2d"), state="untrained", batch_norm="calibrated"
)
GUIDED = Condition(
    task=BASELINE.task,
    target=BASELINE.target,
    train=BASELINE.train,
    treatment=Guidance(terms=(Term(guide=GUIDE),), schedule=Schedule(alpha=7.0)),
)


def search(**changes: Any) -> Search:
    found = read(SPEC | {"search": SEARCH | changes}).blocks[0].search
    assert found is not None
    return found


class By:
    """Results by a function of condition and seed."""

    def __init__(self, result: Callable[[Condition, int], float | None]) -> None:
        self.result = result

    def value(self, condition: Condition, seed: int, metric: str) -> float | None:
        assert metric == "validation/accuracy"
        return self.result(condition, seed)


def run(wanted: Search, results: Results, base: Condition = BASELINE) -> Arm:
    at = partial(applied, base)
    return searched(wanted, form_of(wanted, base, at), at, results, lambda condition: condition)


def arm_of(
    result: Callable[[Condition, int], float | None], base: Condition = BASELINE, **changes: Any
) -> Arm:
    wanted = search(**changes)
    return run(wanted, By(result), base)


def rate(condition: Condition, seed: int) -> float:
    return condition.train.lr + seed * 1e-9


def test_without_results_there_is_the_first_batch() -> None:
    wanted = search()
    arm = run(wanted, NO_RESULTS)
    assert [(trial.number, trial.batch) for trial in arm.trials] == [(0, 0), (1, 0)]
    assert arm.chosen is None
    assert arm.num_later == 1


def test_the_best_mean_is_chosen() -> None:
    arm = arm_of(rate)
    assert [trial.batch for trial in arm.trials] == [0, 0, 1]
    assert arm.num_later == 0
    assert arm.chosen is max(arm.trials, key=lambda trial: trial.condition.train.lr)


def test_a_batch_waits_for_every_seed_of_the_one_before() -> None:
    first = arm_of(rate).trials
    last = first[1].condition

    def late(condition: Condition, seed: int) -> float | None:
        return None if condition == last and seed == 101 else rate(condition, seed)

    assert arm_of(late).trials == first[:2]


def test_the_result_is_the_mean_over_seeds() -> None:
    """The trial that is best at one seed and bad at the other is not chosen."""
    first = arm_of(rate).trials[0].condition

    def uneven(condition: Condition, seed: int) -> float:
        if condition == first:
            return 10.0 if seed == 100 else 0.0
        return 6.0

    chosen = arm_of(uneven).chosen
    assert chosen is not None
    assert chosen.condition != first


def test_one_failed_seed_makes_a_trial_the_worst() -> None:
    best = max(arm_of(rate).trials[:2], key=lambda trial: trial.condition.train.lr).condition

    def failing(condition: Condition, seed: int) -> float:
        return math.nan if condition == best and seed == 101 else rate(condition, seed)

    arm = arm_of(failing)
    assert arm.chosen is not None
    assert arm.chosen.condition != best
    assert best in [trial.condition for trial in arm.trials]


def test_of_failures_alone_the_first_is_chosen() -> None:
    arm = arm_of(lambda *_: math.nan)
    assert arm.chosen is arm.trials[0]
    assert len(arm.trials) == 3


def test_of_equal_trials_the_first_is_chosen() -> None:
    arm = arm_of(lambda *_: 0.5)
    assert arm.chosen is arm.trials[0]


def test_a_loss_is_minimised() -> None:
    wanted = search(select="validation/loss")

    class Losses:
        def value(self, condition: Condition, seed: int, metric: str) -> float:
            assert metric == "validation/loss"
            return rate(condition, seed)

    arm = run(wanted, Losses())
    assert arm.chosen is min(arm.trials, key=lambda trial: trial.condition.train.lr)


def test_keys_of_guidance_are_for_guided_arms() -> None:
    assert all("schedule.alpha" not in trial.point for trial in arm_of(rate).trials)
    trials = arm_of(rate, GUIDED).trials
    assert {trial.point["schedule.alpha"] for trial in trials} <= {1.0, 3.0}
    for trial in trials:
        assert trial.condition.guidance is not None
        assert trial.condition.guidance.schedule.alpha == trial.point["schedule.alpha"]


def test_conditions_that_differ_in_searched_keys_alone_are_refused() -> None:
    arms = Arms(NO_RESULTS, lambda condition: condition)
    wanted = search()
    first = arms.of(wanted, BASELINE, partial(applied, BASELINE))
    assert arms.of(wanted, BASELINE, partial(applied, BASELINE)) is first
    other = Condition(
        task=BASELINE.task, target=BASELINE.target, train=TrainSettings(steps=4, lr=0.5)
    )
    with pytest.raises(SpecError, match=r"differ only in keys that are searched \(train.lr, targ"):
        arms.of(wanted, other, partial(applied, other))
    with pytest.raises(SpecError, match="the same baseline fcn in two ways"):
        arms.of(search(budget=5), BASELINE, partial(applied, BASELINE))


def test_values_that_exclude_each_other_are_named() -> None:
    space = {"schedule.align_first.steps": [5], "schedule.stop_step": [None, 3]}
    with pytest.raises(SpecError, match=r'search.space: {"schedule.align_first.steps": 5'):
        form_of(search(space=space), GUIDED, partial(applied, GUIDED))


def test_two_values_that_fit_alone_and_not_together_are_refused_before_a_batch() -> None:
    def at(point: Point) -> Condition:
        if point["targets.depth"] == 3 and point["targets.width"] == 18:
            raise ValueError("18 is no multiple of 4")
        return applied(BASELINE, point)

    space = {"train.lr": [0.1, 0.2], "targets.depth": [2, 3], "targets.width": [16, 18]}
    with pytest.raises(SpecError, match=r"search.space: .*: 18 is no multiple of 4"):
        form_of(search(space=space), BASELINE, at)
