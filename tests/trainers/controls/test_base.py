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
from trainers import controls
from trainers.architectures.taps import Rows
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guide
from trainers.controls import CONTROLS, Control, FeatureSource, SourceContext
from trainers.cost import flops
from trainers.guides.features import Features
from trainers.mappings import Pair
from trainers.registry import UnknownNameError
from trainers.tasks import Task
from trainers.tasks.batches import Batch
from trainers.training.rehearsal import Rehearsal

MakeCondition = Callable[..., Condition]
NO_GUIDE = {"input", "labels", "uniform"}


class OddSource:
    """Whether the label is odd, at every tap; keeps what it was given."""

    batches: ClassVar[list[Tensor]] = []

    def __init__(self, taps: tuple[str, ...]) -> None:
        self.taps = taps

    def features(self, batch: Batch, step: int) -> Features:
        self.batches.append(batch.labels)
        return self.evaluate(batch.inputs, batch.labels)

    def evaluate(self, inputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        assert len(inputs) == len(labels)
        return dict.fromkeys(self.taps, functional.one_hot(labels % 2, 2).float())


class Odd(Control):
    """A toy: whether the label is odd, at the last pair alone."""

    guides = ("taps",)
    runs_guide = False
    sees_inputs = False

    def source(self, context: SourceContext) -> FeatureSource:
        return OddSource(context.taps)

    def shown(self, task: Task, rows: Rows, outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {tap: output.new_empty(len(output), 2) for tap, output in outputs.items()}

    def pairs(
        self, mapped: Sequence[Pair], target_taps: Sequence[str], guide_taps: Sequence[str]
    ) -> list[Pair]:
        return [mapped[-1]]


@pytest.fixture
def odd() -> Iterator[str]:
    CONTROLS.names()
    controls.register("odd")(Odd)
    OddSource.batches.clear()
    yield "odd"
    CONTROLS.forget(Odd.__module__.partition(".")[0])


def test_what_each_says() -> None:
    built = {name: controls.build(CONTROLS.component(name)) for name in CONTROLS.names()}
    assert {name for name, c in built.items() if not c.runs_guide} == NO_GUIDE
    assert {name for name, c in built.items() if c.of_target} == {"labels", "self", "uniform"}
    blind = {name for name, c in built.items() if not c.sees_inputs}
    assert blind == {"labels", "noise", "uniform"}
    assert {name for name, c in built.items() if c.compared} == {"none"}
    assert {name: c.guides for name, c in built.items() if len(c.guides) == 1} == {
        "input": ("taps",),
        "labels": ("taps",),
        "reversed": ("taps",),
        "uniform": ("answers",),
    }
    trained = {name for name, c in built.items() if c.states == ("trained",)}
    assert trained == {"class_shuffled", "labels"}
    assert {name for name, c in built.items() if c.shows_labels} == {"labels"}
    assert all(c.cacheable for c in built.values())


def test_an_unknown_one_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown control 'shufled'; did you mean 'shuff"):
        controls.build(CONTROLS.component("shufled"))


def test_a_further_one_is_one_class(odd: str, make: MakeCondition) -> None:
    condition = make(control="input", state=None)
    guide = Guide(architecture=term_of(condition).guide.architecture, state=None)
    condition = changed(condition, guide=guide, control=odd)
    Rehearsal().try_out(condition)
    assert flops.training(condition) > 0
    OddSource.batches.clear()
    result = trainers.train(condition, report=lambda _: None)
    assert len(OddSource.batches) == result.steps
    named = {p.metric for p in result.history.points if p.metric.startswith("distance/")}
    assert len(named) == 1
    plain = trainers.train(make(control="input", state=None), report=lambda _: None)
    assert not torch.equal(*(next(iter(r.network.parameters())) for r in (result, plain)))


def test_a_further_one_is_planned(odd: str) -> None:
    plan = Study(
        name="odd", task={"name": "translated_digits", "places": 1}, targets="fcn",
        guides="resnet2d", controls=[odd, "shuffled"], seeds=1, train={"steps": 2},
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
        (None, odd): 1,
    }
