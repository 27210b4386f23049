"""Guidance in one step of several: what runs in the others, and what is logged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import trainers
from tests.helpers.conditions import changed
from trainers.conditions.condition import Condition
from trainers.conditions.schedule import Schedule
from trainers.controls.none import GuideSource
from trainers.cost import timing
from trainers.guides import frozen
from trainers.guides.pool import GuidePool
from trainers.messages import silent
from trainers.training.loop import Run
from trainers.training.train import Result

MakeCondition = Callable[..., Condition]
SameResult = Callable[[Result, Result], None]


@pytest.fixture
def scheduled(make: MakeCondition) -> MakeCondition:
    """Makes a condition, guided by default, with fields of its schedule."""

    def condition(
        kind: str = "image", schedule: dict[str, Any] | None = None, **options: Any
    ) -> Condition:
        made = make(kind, **{"control": "none"} | options)
        return changed(made, schedule=Schedule(**schedule or {}))

    return condition


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of examples of the forward passes of guides."""
    sizes = []
    forward = frozen.FrozenGuide.forward

    def spy(guide: frozen.FrozenGuide, inputs: Tensor) -> dict[str, Tensor]:
        sizes.append(len(inputs))
        return forward(guide, inputs)

    monkeypatch.setattr(frozen.FrozenGuide, "forward", spy)
    return sizes


def trained(condition: Condition, guides: GuidePool | None = None) -> Result:
    return trainers.train(condition, report=silent, guides=guides)


def values(result: Result, metric: str) -> dict[int, float]:
    return {p.step: p.value for p in result.history.points if p.metric == metric}


@pytest.mark.parametrize(("every", "count"), [(1, 6), (2, 3), (3, 2), (4, 2), (9, 1)])
@pytest.mark.parametrize("kind", ["image", "token"])
@pytest.mark.parametrize("control", ["none", "shuffled"])
def test_a_live_guide_runs_in_guided_steps_alone(
    control: str, kind: str, every: int, count: int, scheduled: MakeCondition,
    forwards: list[int], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(frozen, "CACHE_BYTES", 0)
    trained(scheduled(kind, {"every": every}, control=control))
    assert forwards.count(20) == count


def test_features_are_read_and_taps_recorded_in_guided_steps_alone(
    scheduled: MakeCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, recorded = [], []
    features, train_loss = GuideSource.features, Run.train_loss

    def asking(source: GuideSource, batch: Any, step: int) -> Any:
        asked.append(step)
        return features(source, batch, step)

    def recording(run: Run, step: int, outputs: dict[str, Tensor]) -> Any:
        answer = train_loss(run, step, outputs)
        recorded.append(set(outputs) == set(run.guided_taps))
        assert outputs or not recorded[-1]
        return answer

    monkeypatch.setattr(GuideSource, "features", asking)
    monkeypatch.setattr(Run, "train_loss", recording)
    trained(scheduled(schedule={"every": 2, "stop_step": 4}))
    assert asked == [0, 2]
    assert recorded == [True, False, True, False, False, False]


def test_runs_with_other_intervals_share_features_of_streamed_batches(
    scheduled: MakeCondition, forwards: list[int], same_result: SameResult
) -> None:
    conditions = [scheduled("token", {"every": k}) for k in (3, 2, 1, 6)]
    pool, counts = GuidePool(), []
    for condition in conditions:
        before = forwards.count(20)
        result = trained(condition, pool)
        counts.append(forwards.count(20) - before)
        same_result(result, trained(condition))
    # Steps 0 and 3; 2 and 4; 1 and 5; none that is new.
    assert counts == [2, 2, 2, 0]


def test_a_single_guided_step_is_guidance_that_stops_after_it(
    scheduled: MakeCondition, same_result: SameResult
) -> None:
    once, stopped = (
        trained(scheduled(schedule=options)) for options in ({"every": 100}, {"stop_step": 1})
    )
    assert once.replicate_id != stopped.replicate_id
    first, second = (
        [(p.step, p.metric, p.value) for p in run.history.points] for run in (once, stopped)
    )
    assert first == second
    for ours, theirs in zip(once.network.parameters(), stopped.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("scale", [False, True])
def test_the_loss_has_the_distance_in_guided_steps_alone(
    scale: bool, scheduled: MakeCondition
) -> None:
    schedule = {"every": 2, "alpha": 3.0, "scale_alpha": scale}
    result = trained(scheduled(schedule=schedule, report_every=1))
    loss, task, distance = (
        values(result, f"train/{name}") for name in ("loss", "task_loss", "distance")
    )
    # A report at step k + 1 holds the losses of step k; that of step 0 stands at 0.
    assert set(distance) == {0, 3, 5}
    assert set(task) == set(loss) == {0, 2, 3, 4, 5, 6}
    for step in loss:
        expected = task[step] + (6 if scale else 3) * distance.get(step, 0)
        assert loss[step] == pytest.approx(expected, rel=1e-6)


def test_a_logged_distance_is_the_mean_over_the_guided_steps_of_its_window(
    scheduled: MakeCondition,
) -> None:
    each = trained(scheduled(schedule={"every": 2}, report_every=1, steps=12))
    windows = trained(scheduled(schedule={"every": 2}, report_every=6, steps=12))
    pairs = {p.metric for p in each.history.points if p.metric.startswith("distance/")}
    for metric in ("train/distance", *sorted(pairs)):
        single, mean = values(each, metric), values(windows, metric)
        assert mean[0] == single[0]
        assert mean[6] == pytest.approx((single[3] + single[5]) / 2, rel=1e-6)
        assert mean[12] == pytest.approx((single[7] + single[9] + single[11]) / 3, rel=1e-6)


def test_a_window_without_a_guided_step_has_no_distance(scheduled: MakeCondition) -> None:
    result = trained(scheduled(schedule={"every": 4}))
    assert set(values(result, "train/distance")) == {0, 6}
    assert set(values(result, "train/task_loss")) == {0, 2, 4, 6}


def test_both_kinds_of_steps_are_timed(scheduled: MakeCondition, forwards: list[int]) -> None:
    condition = scheduled("token", {"every": 3})
    trained(condition)
    before = forwards.count(20)
    assert timing.expected_seconds(condition) > 0
    assert forwards.count(20) - before == timing.WARM_STEPS + timing.TIMED_STEPS


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("every", [1, 2])
def test_a_compiled_target_gives_the_same(every: int, scheduled: MakeCondition) -> None:
    plain, compiled = (
        trained(
            scheduled(schedule={"every": every}, report_every=1, optimizer="sgd", compile=compile)
        )
        for compile in (False, True)
    )
    for metric in ("train/distance", "train/loss"):
        expected = values(plain, metric)
        assert values(compiled, metric) == pytest.approx(expected, rel=1e-3)
