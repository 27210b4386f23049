"""Tasks of values: metrics, predictions, the control `labels`, and what has no meaning for them."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn import metrics
from torch import Tensor

import trainers
from trainers import controls, tasks
from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition
from trainers.conditions.training import TrainSettings
from trainers.controls import CONTROLS
from trainers.controls.labels import LabelSource
from trainers.distances import DISTANCES
from trainers.errors import UserError
from trainers.store.tables import predictions_table
from trainers.tasks import TASKS, InputSpec, OutputSpec, Regression, Task
from trainers.training import evaluation

DIABETES = TASKS.component("diabetes")


class Two(Regression):
    """Specs of two values."""

    def __init__(self) -> None:
        self.input = InputSpec(kind="signal", shape=(1, 4))
        self.output, self.num_train = OutputSpec(num_values=2), 20

    def load(self) -> Any:
        raise NotImplementedError


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def scores(task: Task, answers: Tensor, labels: Tensor) -> dict[str, float]:
    parts = [task.tally(a, y) for a, y in zip(answers.split(7), labels.split(7), strict=True)]
    return task.score({name: sum(part[name] for part in parts) for name in parts[0]})


def test_metrics_are_those_of_scikit_learn() -> None:
    labels, error = 3 + drawn(0, 50, 2), drawn(1, 50, 2)
    answers = labels + error * torch.tensor([0.2, 1.5])
    found = scores(Two(), answers, labels)
    assert found["r2"] == pytest.approx(metrics.r2_score(labels.numpy(), answers.numpy()), rel=1e-5)
    expected = metrics.mean_squared_error(labels.numpy(), answers.numpy())
    assert found["mse"] == pytest.approx(expected, rel=1e-5)
    assert Two().loss(answers, labels).item() == pytest.approx(expected, rel=1e-5)


def test_the_mean_is_chance() -> None:
    labels = drawn(0, 40, 2)
    found = scores(Two(), labels.mean(0).expand(40, 2), labels)
    assert found["r2"] == pytest.approx(0.0, abs=1e-6) == Two().chance("r2")
    assert Two().chance("mse") is None


@pytest.mark.parametrize("count", [1, 14])
def test_labels_that_are_all_alike_have_no_r2(count: int) -> None:
    found = scores(Two(), drawn(0, count, 2), torch.full((count, 2), 0.1))
    assert math.isnan(found["r2"])
    assert math.isfinite(found["mse"])


def test_diabetes_is_standardised_by_its_training_split() -> None:
    task = tasks.build(DIABETES)
    for values in (task.train.inputs[:, 0], task.train.labels):
        assert torch.allclose(values.mean(0), torch.zeros(()), atol=1e-5)
        assert torch.allclose(values.std(0, correction=0), torch.ones(()), atol=1e-5)
    assert task.chance("r2") == 0


def test_diabetes_is_learnt() -> None:
    """Least squares explain about half of the variance (Efron et al. 2004, table 3)."""
    task = tasks.build(DIABETES)
    flat = [
        torch.cat([split.inputs[:, 0], torch.ones(len(split.inputs), 1)], 1)
        for split in (task.train, task.test)
    ]
    weights = torch.linalg.lstsq(flat[0], task.train.labels).solution
    assert 0.3 < scores(task, flat[1] @ weights, task.test.labels)["r2"] < 0.6
    settings = TrainSettings(epochs=15, batch_size=32, optimizer="adam", lr=1e-3)
    condition = Condition(
        task=DIABETES, target=ARCHITECTURES.component("fcn", depth=2, width=32), train=settings
    )
    assert trainers.train(condition, report=lambda *_: None).metrics["r2"] > 0.2


def test_predictions_are_not_changed_by_a_tally_in_place() -> None:
    task = tasks.build(DIABETES)
    torch.manual_seed(0)
    fcn = ARCHITECTURES.component("fcn", depth=1, width=8)
    network = trainers.architectures.build(fcn, task.input, task.output)

    class InPlace(type(task)):  # type: ignore[misc]
        def tally(self, answers: Tensor, labels: Tensor) -> dict[str, float]:
            return dict(super().tally(answers.sub_(labels), torch.zeros_like(labels)))

    changed = InPlace()
    first, second = (
        evaluation.evaluate(network, each, task.test, torch.device("cpu")).predictions
        for each in (task, changed)
    )
    assert torch.equal(first, second)
    assert torch.equal(first, network.eval()(task.test.inputs))


def test_the_table_of_predictions_has_values() -> None:
    labels, predictions = drawn(0, 3, 2), drawn(1, 3, 2)
    content = predictions_table("r", labels, predictions, torch.tensor([4, 4, 5]))
    table = pq.read_table(io.BytesIO(content)).to_pydict()
    assert table["example"] == [0, 0, 1, 1, 2, 2]
    assert table["position"] == [0, 1] * 3
    assert table["cluster"] == [4, 4, 4, 4, 5, 5]
    np.testing.assert_allclose(table["label_value"], labels.flatten())
    np.testing.assert_allclose(table["prediction_value"], predictions.flatten())
    assert not {"label", "prediction"} & table.keys()


def test_the_control_labels_shows_the_values() -> None:
    labels = drawn(0, 5, 2)
    labels[0, 0] = -100.0
    shown = LabelSource(("a", "b"), Two(), "examples", dict).evaluate(torch.zeros(5, 1, 4), labels)
    assert torch.equal(shown["a"], labels)
    assert shown["a"] is shown["b"]


@pytest.mark.parametrize(
    ("control", "distance", "message"),
    [
        ("class_shuffled", "linear_cka", "it needs classes, and the task's labels are values"),
        ("uniform", "distillation", "it needs classes, and the task's answers are values"),
    ],
)
def test_controls_of_classes_have_no_meaning(control: str, distance: str, message: str) -> None:
    found = controls.refusal(
        CONTROLS.component(control), DISTANCES.component(distance), "trained", DIABETES
    )
    assert found is not None
    assert message in found
    with pytest.raises(UserError, match=message):
        controls.build(CONTROLS.component(control)).check(Two())
