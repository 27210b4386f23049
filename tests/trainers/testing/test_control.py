"""The contract of controls takes good ones, and says by name what is wrong with others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from trainers.architectures import ARCHITECTURES
from trainers.architectures.taps import Rows
from trainers.controls import CONTROLS, FeatureSource, SourceContext, register
from trainers.controls.input import Input, InputSource
from trainers.controls.none import NoControl
from trainers.controls.shuffled import Shuffled, ShuffledSource
from trainers.errors import UserError
from trainers.guides.disk_cache import CacheInputs
from trainers.guides.features import Features
from trainers.mappings import Pair
from trainers.runtime.streams import Streams
from trainers.tasks import TASKS, Task
from trainers.tasks.batches import Batch
from trainers.testing import ContractError, check_control, control_rules

#: Task, target and guide.
SETTINGS: dict[str, tuple[Any, Any, Any]] = {
    "images": (
        TASKS.component("translated_digits", places=1),
        ARCHITECTURES.component("fcn", depth=2, width=8, norm="batch"),
        ARCHITECTURES.component("resnet2d", width=2, blocks=1),
    ),
    "tokens": (
        TASKS.component("copy_paste", length=2, symbols=3),
        ARCHITECTURES.component("rnn", depth=2, width=8, embedding=4),
        ARCHITECTURES.component("transformer", depth=3, width=8, heads=2, feed_forward=8),
    ),
    "padded": (
        TASKS.component("parity", max_length=6, train_size=40),
        ARCHITECTURES.component("rnn", depth=2, width=8, embedding=4),
        ARCHITECTURES.component("parity_rnn", depth=2, width=8, embedding=4),
    ),
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", CONTROLS.names())
def test_those_of_the_package(name: str, setting: str) -> None:
    task, target, guide = SETTINGS[setting]
    if (name, setting) == ("class_shuffled", "tokens"):
        with pytest.raises(UserError, match="needs one label an example"):
            check_control(name, task, target=target, guide=guide)
        return
    check_control(name, task, target=target, guide=guide)
    assert "shows_what_it_says" in control_rules(name, task, target=target, guide=guide)


def test_labels_at_all_pairs() -> None:
    task, target, guide = SETTINGS["images"]
    check_control(CONTROLS.component("labels", at="all"), task, target=target, guide=guide)


class WithoutDocstring(NoControl):
    compared = False


class OfNothing(NoControl):
    """Of no state."""

    states = ()


class Narrow(Input):
    """Says that it shows fewer values than it does."""

    def shown(self, task: Task, rows: Rows, outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {tap: output.new_empty(len(output), 1) for tap, output in outputs.items()}


class Counting(ShuffledSource):
    calls = 0

    def order(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        Counting.calls += 1
        return torch.arange(len(labels)).roll(Counting.calls)


class CallByCall(Shuffled):
    """Another order at each call."""

    def source(self, context: SourceContext) -> FeatureSource:
        assert context.guide is not None
        return Counting(context.guide, context.streams, context.streamed, context.cached)


class Drawing(InputSource):
    def features(self, batch: Batch, step: int) -> Features:
        torch.rand(1)
        return super().features(batch, step)


class Global(Input):
    """Draws from the global generator."""

    def source(self, context: SourceContext) -> FeatureSource:
        return Drawing(context.taps, context.task.input)

    def shown(self, task: Task, rows: Rows, outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return super().shown(task, "examples", outputs)


class Idle(Global):
    """Says that it runs a guide, and runs none."""

    runs_guide = True

    def source(self, context: SourceContext) -> FeatureSource:
        return InputSource(context.taps, context.task.input)


class Restless(InputSource):
    calls = 0

    def evaluate(self, inputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        Restless.calls += 1
        return {tap: o + Restless.calls for tap, o in super().evaluate(inputs, labels).items()}

    def features(self, batch: Batch, step: int) -> Features:
        return super().evaluate(batch.guide_inputs, batch.labels)


class Unsteady(Global):
    """Evaluates differently each time."""

    def source(self, context: SourceContext) -> FeatureSource:
        return Restless(context.taps, context.task.input)


class Sighted(Global):
    """Says that it sees no inputs."""

    sees_inputs = False

    def source(self, context: SourceContext) -> FeatureSource:
        return InputSource(context.taps, context.task.input)


class Doubled(NoControl):
    """Caches other inputs than the guide sees."""

    def cache_inputs(self, task: Task, streams: Streams) -> CacheInputs:
        return CacheInputs("doubled", lambda: 2 * task.train.inputs)


class NearPairs(NoControl):
    """As many pairs as target taps are met."""

    def pairs(
        self, mapped: Sequence[Pair], target_taps: Sequence[str], guide_taps: Sequence[str]
    ) -> list[Pair]:
        return list({pair.target: pair for pair in mapped}.values())


class AnyNumber(NoControl):
    """Takes any number."""

    def __init__(self, *, k: int = 1) -> None:
        self.k = k


BROKEN: dict[str, type[Any]] = {
    "says_what_it_is": WithoutDocstring,
    "facts_are_known": OfNothing,
    "shows_what_it_says": Narrow,
    "repeats_its_draws": CallByCall,
    "leaves_the_generators_alone": Global,
    "says_whether_a_guide_runs": Idle,
    "evaluates": Unsteady,
    "sees_what_it_says": Sighted,
    "caches_show_the_same": Doubled,
    "pairs_are_of_taps": NearPairs,
    "bad_options_are_refused": AnyNumber,
}


@pytest.fixture
def registered() -> Iterator[None]:
    CONTROLS.names()
    yield
    CONTROLS.forget(__name__.partition(".")[0])


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("rule", BROKEN)
def test_what_breaks_a_rule_is_told(rule: str) -> None:
    register("broken")(BROKEN[rule])
    task, target, guide = SETTINGS["images"]
    with pytest.raises(ContractError, match=f"- {rule}: .*Reason: "):
        check_control("broken", task, target=target, guide=guide, rule=rule)


def test_every_rule_is_tried() -> None:
    task, target, guide = SETTINGS["images"]
    assert control_rules("none", task, target=target, guide=guide) == list(BROKEN)
