"""Controls: what each says of itself, and that a further one is one class."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import trainers
from study import Study
from tests.helpers.conditions import changed, term_of
from trainers import controls, tasks
from trainers.architectures.taps import Rows
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guide
from trainers.controls import CONTROLS, Control, FeatureSource, SourceContext
from trainers.cost import flops
from trainers.guides.features import Features
from trainers.mappings import Pair
from trainers.registry import UnknownNameError
from trainers.tasks import InputSpec
from trainers.tasks.batches import Batch
from trainers.training.rehearsal import Rehearsal

MakeCondition = Callable[..., Condition]
CLASSES = 10


class LabelSource:
    """One-hot labels at every tap; keeps what it was given."""

    batches: ClassVar[list[Tensor]] = []

    def __init__(self, taps: tuple[str, ...]) -> None:
        self.taps = taps

    def features(self, batch: Batch, step: int) -> Features:
        self.batches.append(batch.labels)
        return self.evaluate(batch.inputs, batch.labels)

    def evaluate(self, inputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        assert len(inputs) == len(labels)
        return dict.fromkeys(self.taps, functional.one_hot(labels, CLASSES).float())


class Labels(Control):
    """A toy: the labels, at the last pair alone."""

    guides = ("taps",)
    runs_guide = False
    sees_inputs = False
    shows_taps = False

    def source(self, context: SourceContext) -> FeatureSource:
        return LabelSource(context.taps)

    def row_width(self, input: InputSpec, rows: Rows) -> int:
        return CLASSES

    def pairs(self, mapped: Sequence[Pair]) -> list[Pair]:
        return [mapped[-1]]


@pytest.fixture
def labels() -> Iterator[str]:
    CONTROLS.names()
    controls.register("labels_of_a_test")(Labels)
    LabelSource.batches.clear()
    yield "labels_of_a_test"
    CONTROLS.forget(Labels.__module__.partition(".")[0])


def test_what_each_says() -> None:
    built = {name: controls.build(CONTROLS.component(name)) for name in CONTROLS.names()}
    assert {name for name, c in built.items() if not c.runs_guide} == {"input", "uniform"}
    assert {name for name, c in built.items() if c.of_target} == {"self", "uniform"}
    assert {name for name, c in built.items() if not c.sees_inputs} == {"noise", "uniform"}
    assert {name for name, c in built.items() if c.compared} == {"none"}
    assert {name: c.guides for name, c in built.items() if len(c.guides) == 1} == {
        "input": ("taps",),
        "uniform": ("answers",),
    }


def test_an_unknown_one_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown control 'shufled'; did you mean 'shuff"):
        controls.build(CONTROLS.component("shufled"))


def test_a_further_one_is_one_class(labels: str, make: MakeCondition) -> None:
    condition = make(control="input", state=None)
    guide = Guide(architecture=term_of(condition).guide.architecture, state=None)
    condition = changed(condition, guide=guide, control=labels)
    Rehearsal().try_out(condition)
    assert flops.training(condition) > 0
    LabelSource.batches.clear()
    result = trainers.train(condition, report=lambda _: None)
    assert len(LabelSource.batches) == result.steps
    named = {p.metric for p in result.history.points if p.metric.startswith("distance/")}
    assert len(named) == 1
    plain = trainers.train(make(control="input", state=None), report=lambda _: None)
    assert not torch.equal(*(next(iter(r.network.parameters())) for r in (result, plain)))
    task = tasks.build(condition.task)
    assert task.output.num_classes == CLASSES


def test_a_further_one_is_planned(labels: str) -> None:
    plan = Study(
        name="labels", task={"name": "translated_digits", "places": 1}, targets="fcn",
        guides="resnet2d", controls=[labels, "shuffled"], seeds=1, train={"steps": 2},
    ).plan()  # fmt: skip
    found = {
        (use.labels["state"], use.labels["control"]): use.num_pairs
        for use in plan.uses
        if use.condition.guidance is not None
    }
    assert found == {
        ("trained", "none"): 6,
        ("trained", "shuffled"): 6,
        ("untrained", "none"): 6,
        ("untrained", "shuffled"): 6,
        (None, labels): 1,
    }
