"""The sample of training data on which every network is scored at its end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import trainers
from trainers import tasks
from trainers.conditions.condition import Condition
from trainers.data.lazy import LazyInputs
from trainers.messages import silent
from trainers.tasks import TASKS, Split, Task
from trainers.training import evaluation, train_sample
from trainers.training.train import Result

MakeCondition = Callable[..., Condition]
SameResult = Callable[[Result, Result], None]


def build(name: str, **options: object) -> Task:
    return tasks.build(TASKS.component(name, **options))


def test_a_sample_is_part_of_the_training_split() -> None:
    task = build("translated_digits", places=1)
    sample = train_sample.train_sample(task)
    assert len(sample.labels) == min(len(task.test.labels), 1000)
    train = {(x.numpy().tobytes(), int(y)) for x, y in zip(*task.train, strict=True)}
    drawn = [(x.numpy().tobytes(), int(y)) for x, y in zip(*sample, strict=True)]
    assert set(drawn) <= train
    # No example twice, but for those that the split itself repeats.
    assert len(set(drawn)) > 0.95 * len(drawn)
    again = train_sample.train_sample(task)
    assert torch.equal(again.inputs, sample.inputs)
    assert torch.equal(again.labels, sample.labels)


@pytest.mark.parametrize(("examples", "expected"), [(7, 200), (700, 700), (10**6, 2000)])
def test_a_sample_grows_with_the_test_split(
    examples: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = build("copy_paste")
    assert len(task.test.labels) == 2000
    monkeypatch.setattr(train_sample, "EXAMPLES", examples)
    assert len(train_sample.train_sample(task).labels) == expected


def test_a_streamed_task_draws_examples_of_its_own() -> None:
    task = build("parity", max_length=20)
    sample = train_sample.train_sample(task)
    assert len(sample.labels) == 1000
    assert torch.equal(sample.labels, (sample.inputs == 1).sum(1) % 2)
    again = train_sample.train_sample(task)
    assert torch.equal(again.inputs, sample.inputs)
    long = {
        row.numpy().tobytes() for row in task.test.inputs if (row != 2).sum() >= 12
    }  # long strings are in one split only
    assert not long & {row.numpy().tobytes() for row in sample.inputs}


class Numbers(LazyInputs):
    """Example i is i."""

    def __init__(self) -> None:
        self.shape = torch.Size((50, 1))

    @property
    def digest(self) -> str:
        return "numbers"

    def example(self, index: int) -> torch.Tensor:
        return torch.tensor([float(index)])


def test_lazy_inputs_stay_lazy(monkeypatch: pytest.MonkeyPatch) -> None:
    task = build("translated_digits", places=1)
    lazy = Split.of_lazy(Numbers(), torch.arange(50))
    few = Split(task.test.inputs[:9], task.test.labels[:9])
    monkeypatch.setattr(task, "num_train", 50)
    monkeypatch.setattr(task, "train", lazy)
    monkeypatch.setattr(task, "test", few)
    sample = train_sample.train_sample(task)
    assert sample.lazy is not None
    assert len(sample.inputs) == 9
    assert sample.inputs[:9].flatten().tolist() == sample.labels.tolist()
    assert sample.lazy.digest != Numbers().digest


@pytest.mark.parametrize("kind", ["image", "token"])
def test_every_run_ends_with_the_metrics_of_the_sample(kind: str, make: MakeCondition) -> None:
    result = trainers.train(make(kind), report=silent)
    task = tasks.build(make(kind).task)
    found = {
        p.metric.removeprefix("train_sample/"): (p.step, p.value)
        for p in result.history.points
        if p.metric.startswith("train_sample/")
    }
    sample, cpu = train_sample.train_sample(task), torch.device("cpu")
    expected = evaluation.evaluate(result.network, task, sample, cpu).scores
    assert found == {name: (result.steps, value) for name, value in expected.items()}
    assert "train_sample/accuracy" not in result.metrics
