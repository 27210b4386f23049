"""The weight of guidance by step, and training under each form of schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import trainers
from tests.helpers.conditions import changed
from trainers import tasks
from trainers.conditions.condition import Condition
from trainers.conditions.schedule import AlignFirst, Schedule
from trainers.controls.none import GuideSource
from trainers.errors import UserError
from trainers.registry import Component
from trainers.tasks import TASKS, Task
from trainers.training.loop import Run

MakeCondition = Callable[..., Condition]


def alphas(steps: int, **options: Any) -> list[float]:
    schedule = Schedule(**options)
    guided = schedule.guided_steps(steps)
    return [schedule.alpha_at(step, steps) if step in guided else 0.0 for step in range(steps)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"alpha": 2.0}, [2, 2, 2, 2]),
        ({"stop_step": 2}, [1, 1, 0, 0]),
        ({"stop_step": 9}, [1, 1, 1, 1]),
        ({"decay": "linear"}, [1, 0.75, 0.5, 0.25]),
        ({"decay": "linear", "stop_step": 2}, [1, 0.5, 0, 0]),
        ({"decay": "cosine"}, [1, 0.8535534, 0.5, 0.1464466]),
        ({"warm_up": 2, "alpha": 4.0}, [2, 4, 4, 4]),
        ({"warm_up": 2, "decay": "linear"}, [0.5, 0.75, 0.5, 0.25]),
        ({"align_first": AlignFirst(steps=3)}, [0, 0, 0, 0]),
        ({"every": 2}, [1, 0, 1, 0]),
        ({"every": 3, "scale_alpha": True, "alpha": 2.0}, [6, 0, 0, 6]),
        ({"every": 9}, [1, 0, 0, 0]),
        ({"every": 2, "stop_step": 2}, [1, 0, 0, 0]),
        ({"every": 2, "stop_step": 3, "decay": "linear"}, [1, 0, 1 / 3, 0]),
        ({"every": 2, "warm_up": 4, "scale_alpha": True}, [0.5, 0, 1.5, 0]),
    ],
)
def test_alpha_by_step(options: dict[str, Any], expected: list[float]) -> None:
    assert alphas(4, **options) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({}, "alpha=1"),
        ({"alpha": 5.0, "stop_step": 200}, "alpha=5,stop=200"),
        ({"decay": "cosine", "warm_up": 10}, "alpha=1,decay=cosine,warm_up=10"),
        ({"balanced": True}, "alpha=1,balanced=true"),
        ({"every": 8, "stop_step": 9}, "alpha=1,stop=9,every=8"),
        ({"every": 8, "scale_alpha": True}, "alpha=1,every=8,scale_alpha=true"),
        ({"align_first": AlignFirst(steps=150)}, "alpha=1,align_first=150"),
        (
            {"align_first": AlignFirst(steps=150, inputs="noise")},
            "alpha=1,align_first=150,inputs=noise",
        ),
        (
            {"align_first": AlignFirst(steps=150, inputs="redrawn")},
            "alpha=1,align_first=150,inputs=redrawn",
        ),
    ],
)
def test_labels(options: dict[str, Any], label: str) -> None:
    assert Schedule(**options).label == label


def values(result: Any, metric: str) -> dict[int, float]:
    return {p.step: p.value for p in result.history.points if p.metric == metric}


def scheduled(make: MakeCondition, kind: str = "image", **options: Any) -> Condition:
    condition = make(kind, control="none", report_every=1)
    assert condition.guidance is not None
    return changed(condition, schedule=Schedule(**options))


def quiet(_payload: dict[str, Any]) -> None:
    pass


def test_the_loss_is_that_of_the_schedule(make: MakeCondition) -> None:
    options = {"alpha": 2.0, "decay": "linear", "warm_up": 2, "stop_step": 4}
    result = trainers.train(scheduled(make, **options), report=quiet)
    loss, task, distance = (
        values(result, f"train/{name}") for name in ("loss", "task_loss", "distance")
    )
    for step, alpha in enumerate(alphas(6, **options)):
        # A report at step k + 1 holds the losses of the step that led there.
        at = 0 if step == 0 else step + 1
        expected = task[at] + (alpha * distance[at] if alpha else 0)
        assert loss[at] == pytest.approx(expected, rel=1e-6)
    assert set(distance) == {0, 2, 3, 4}


def test_a_balanced_schedule_weighs_both_losses_alike_at_first(make: MakeCondition) -> None:
    result = trainers.train(scheduled(make, alpha=0.5, balanced=True), report=quiet)
    loss, task, distance = (
        values(result, f"train/{name}") for name in ("loss", "task_loss", "distance")
    )
    assert loss[0] == pytest.approx(1.5 * task[0], rel=1e-6)
    unit = task[0] / distance[0]
    for step in (2, 3, 6):
        assert loss[step] == pytest.approx(task[step] + 0.5 * unit * distance[step], rel=1e-6)


def test_a_balanced_alpha_is_scaled(make: MakeCondition) -> None:
    options = {"balanced": True, "every": 2, "scale_alpha": True}
    result = trainers.train(scheduled(make, **options), report=quiet)
    loss, task = (values(result, f"train/{name}") for name in ("loss", "task_loss"))
    assert loss[0] == pytest.approx((1 + 2) * task[0], rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [("image", "task"), ("image", "redrawn"), ("image", "noise"), ("token", "task"),
     ("token", "noise")],
)  # fmt: skip
def test_alignment_comes_before_training(
    kind: str, inputs: Any, make: MakeCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, Any]] = []
    original = GuideSource.features

    def spy(source: Any, batch: Any, step: int) -> Any:
        seen.append((step, batch))
        return original(source, batch, step)

    monkeypatch.setattr(GuideSource, "features", spy)
    first = AlignFirst(steps=3, inputs=inputs)
    condition = scheduled(make, kind, align_first=first)
    result = trainers.train(condition, report=quiet)
    assert result.steps == 3 + 6
    assert [step for step, _ in seen] == [0, 1, 2]
    assert all(batch.number is None for _, batch in seen)
    assert (seen[0][1].examples is None) == (inputs != "task" or kind == "token")
    assert not torch.equal(seen[0][1].inputs, seen[1][1].inputs)
    task_loss, distance = values(result, "train/task_loss"), values(result, "train/distance")
    assert set(distance) == {0, 2, 3}
    assert set(task_loss) == {4, 5, 6, 7, 8, 9}
    loss = values(result, "train/loss")
    assert all(loss[step] == pytest.approx(distance[step]) for step in distance)
    assert all(loss[step] == task_loss[step] for step in task_loss)


def test_redrawn_inputs_are_of_data_that_no_seed_trains_on(
    make: MakeCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    aligned: list[torch.Tensor] = []
    original = GuideSource.features

    def spy(source: Any, batch: Any, step: int) -> Any:
        aligned.append(batch.inputs)
        return original(source, batch, step)

    monkeypatch.setattr(GuideSource, "features", spy)
    condition = scheduled(make, align_first=AlignFirst(steps=1, inputs="redrawn"))
    of_seed = {}
    for seed in (0, 1):
        trainers.train(condition, seed=seed, report=quiet)
        of_seed[seed] = aligned.pop()
        for data_seed in (None, 0, 1):
            assert not images(of_seed[seed]) & images_of(tasks.build(condition.task, data_seed))
        assert images(of_seed[seed]) <= images_of(tasks.redrawn(condition.task, seed))
    assert not torch.equal(of_seed[0], of_seed[1])


def images(inputs: torch.Tensor) -> set[bytes]:
    return {image.tobytes() for image in inputs.numpy()}


def images_of(task: Task) -> set[bytes]:
    return images(task.train.inputs)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (TASKS.component("copy_paste"), "'copy_paste' draws each batch anew; allowed: task, noise"),
        (TASKS.component("pydoc_topics"), "'pydoc_topics' has one data set; allowed: task, noise, "
         "or a task that draws its data: .*mnist1d"),
    ],
)  # fmt: skip
def test_what_has_no_other_data(task: Component, message: str) -> None:
    with pytest.raises(UserError, match=f"inputs is redrawn, and task {message}"):
        tasks.redrawn(task, 0)


def test_training_after_alignment_sees_what_the_baseline_sees(
    make: MakeCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: dict[str, list[Any]] = {"plain": [], "aligned": []}
    original = Run.train_loss
    which = "plain"

    def spy(run: Run, step: int, outputs: Any) -> Any:
        batches[which].append((step, run.batches[step].examples, run.optimizer.state_dict()))
        return original(run, step, outputs)

    monkeypatch.setattr(Run, "train_loss", spy)
    trainers.train(make(), report=quiet)
    which = "aligned"
    aligned = scheduled(make, align_first=AlignFirst(steps=2))
    trainers.train(aligned, report=quiet)
    for plain, other in zip(batches["plain"], batches["aligned"], strict=True):
        assert plain[0] == other[0]
        assert torch.equal(plain[1], other[1])
    # The optimiser is fresh.
    assert batches["aligned"][0][2]["state"] == {}


@pytest.mark.parametrize(
    "options",
    [
        {"align_first": AlignFirst(steps=3)},
        {"align_first": AlignFirst(steps=2, inputs="noise")},
        {"align_first": AlignFirst(steps=2, inputs="redrawn")},
        {"balanced": True, "decay": "cosine"},
        {"every": 2},
        {"every": 4, "scale_alpha": True, "balanced": True},
    ],
    ids=["align_first", "noise", "redrawn", "balanced", "every", "every, balanced"],
)
@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_resumed_is_undisturbed(
    options: dict[str, Any], at: int, make: MakeCondition, reports: Any,
    interruption: type[Exception], same_result: Any, tmp_path: Any,
) -> None:  # fmt: skip
    condition = scheduled(make, **options)
    whole = trainers.train(condition, report=quiet)
    with pytest.raises(interruption):
        trainers.train(condition, store=tmp_path, report=reports(interrupt_at=at))
    same_result(whole, trainers.train(condition, store=tmp_path, report=quiet))
