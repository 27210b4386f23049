"""What cannot be trained is said before it is: networks, tasks and guidance tried briefly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.conditions import changed
from tests.helpers.registries import restored
from trainers import architectures, tasks
from trainers.architectures import ARCHITECTURES, Network
from trainers.conditions.condition import Condition
from trainers.controls.input import Input
from trainers.distances import DISTANCES, Distance
from trainers.distances import register as register_distance
from trainers.mappings import MAPPINGS
from trainers.registry import Component
from trainers.tasks import TASKS, Classification, InputSpec, OutputSpec, Split
from trainers.tasks.batches import Batch
from trainers.training import rehearsal
from trainers.training.rehearsal import Rehearsal, RehearsalError

MakeCondition = Callable[..., Condition]


class Net(Network):
    """Two layers that go wrong as a test says."""

    def __init__(self, input: InputSpec, output: OutputSpec, *, fault: str = "none") -> None:
        super().__init__()
        width = math.prod(input.shape)
        self.a, self.b = nn.Linear(width, 8), nn.Linear(8, 8)
        self.out = nn.Linear(8, output.num_classes + (fault == "logits"))
        self.fault, self.taps = fault, ("a", "b")
        if fault == "frozen":
            self.requires_grad_(requires_grad=False)

    def get_extra_state(self) -> Any:
        return {"name": "net"} if self.fault == "state" else torch.zeros(1)

    def set_extra_state(self, state: Any) -> None:
        pass

    def forward(self, inputs: Tensor) -> Any:
        h = self.a(inputs.flatten(1))
        if self.fault == "never called":
            return self.out(h)
        logits = self.out(self.b(h))
        if self.fault == "time first":
            return logits.T
        answers: dict[str, Any] = {
            "dict": {"logits": logits},
            "tuple": (logits, h),
            "detached": logits.detach(),
            "nan": logits / 0 * 0,
            "integers": logits.long(),
        }
        return answers.get(self.fault, logits)


class Batchy(Classification):
    """A task that goes wrong as a test says."""

    def __init__(self, *, fault: str = "none") -> None:
        self.input, self.output = InputSpec(kind="signal", shape=(1, 6)), OutputSpec(num_classes=2)
        self.num_train = None if fault.startswith("sample") else 40
        self.augmented, self.fault = fault == "augment", fault

    def load(self) -> dict[str, Split]:
        return {
            name: self.drawn(40, seed) for seed, name in enumerate(("train", "validation", "test"))
        }

    def drawn(self, size: int, seed: int) -> Split:
        inputs = torch.randn(size, 1, 6, generator=torch.Generator().manual_seed(seed))
        return Split(inputs, (inputs.sum((1, 2)) > 0).long())

    def sample(self, num_examples: int, generator: torch.Generator) -> Split:
        inputs, labels = self.drawn(num_examples, 0)
        return Split(inputs.double(), labels)

    def augment(self, example: Tensor, generator: torch.Generator) -> Tensor:
        return example[0]

    def loss(self, logits: Tensor, labels: Tensor) -> Any:
        value = super().loss(logits, labels)
        return {"loss of many": value.expand(3), "loss": value.item()}.get(self.fault, value)

    def tally(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        if self.fault == "tally":
            raise KeyError("hits")
        return super().tally(logits, labels)

    def score(self, sums: Any) -> dict[str, float]:
        return {"accuracy": 1.0} if self.fault == "score" else super().score(sums)


class Nan(Distance):
    """Goes wrong as a test says."""

    def __init__(self, *, fault: str = "nan") -> None:
        self.fault = fault

    def forward(self, target: Tensor, guide: Tensor) -> Any:
        n, values = target.shape[-2], target.square().sum(-1)
        if self.fault == "rows":
            return values / (n - 3)
        answers = {"none": None, "number": 0.5, "a value a row": values}
        return answers.get(self.fault, values.mean(-1) / 0)


class Learning(Distance):
    """A distance with parameters that goes wrong as a test says."""

    learns = True

    def __init__(self, *, fault: str = "none") -> None:
        self.fault = fault

    def connect(self, p: int, q: int) -> Any:
        return {"no module": 3}.get(self.fault, Connected(p, self.fault))

    def forward(self, target: Tensor, guide: Any) -> Tensor:
        raise NotImplementedError


class Connected(nn.Module):
    def __init__(self, p: int, fault: str) -> None:
        super().__init__()
        self.weights, self.fault = nn.Linear(p, 1), fault

    def forward(self, target: Tensor, guide: Tensor) -> Any:
        return None if self.fault == "none" else self.weights(target)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    with restored():
        architectures.register("net", inputs=("image", "signal"))(Net)
        tasks.register("batchy")(Batchy)
        register_distance("nan", invariances=(), cost="", source="", bias="")(Nan)
        register_distance("learning", invariances=(), cost="", source="", bias="")(Learning)
        yield


def network(fault: str, make: MakeCondition) -> Condition:
    return replace(make(), target=ARCHITECTURES.component("net", fault=fault))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("logits", r"answers a batch of 3 with \(3, 11\); the task needs answers .*: \(3, 10\)"),
        ("dict", "it answers with a dict; forward returns one tensor"),
        ("tuple", "it answers with a tuple; forward returns one tensor"),
        ("time first", r"answers a batch of 3 with \(10, 3\)"),
        ("never called", "tap 'b': its module is not called"),
        ("detached", "no gradient of the loss reaches it"),
        ("frozen", "it has no parameters that learn"),
        ("nan", "the loss of its first batch is nan"),
        ("integers", "it answers with torch.int64"),
        ("state", "its state holds '_extra_state', a dict"),
    ],
)
def test_networks(fault: str, message: str, make: MakeCondition) -> None:
    with pytest.raises(
        RehearsalError,
        match=f"^architecture 'net.fault={fault}.' on task .*{message}",
    ):
        Rehearsal().try_out(network(fault, make))


def test_a_good_network_is_tried_once(make: MakeCondition, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    original = architectures.build

    def build(component: Component, *rest: Any) -> Network:
        built.append(component.name)
        return original(component, *rest)

    monkeypatch.setattr(architectures, "build", build)
    tried = Rehearsal()
    for condition in (network("none", make), network("none", make)):
        tried.try_out(condition)
    assert built.count("net") == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("sample", "split 'sample' has inputs of type float64"),
        ("augment", r"augment gives \(6,\)"),
        ("loss of many", r"the loss of its first batch is \[.*\]; it must be one"),
        ("loss", "the loss of its first batch is float"),
        ("score", "score gives accuracy; higher_is_better names accuracy, loss"),
    ],
)
def test_tasks(fault: str, message: str, make: MakeCondition) -> None:
    condition = replace(
        make(), task=TASKS.component("batchy", fault=fault), target=ARCHITECTURES.component("net")
    )
    with pytest.raises(RehearsalError, match=message):
        Rehearsal().try_out(condition)


def test_examples_without_a_label_are_passed_over(
    make: MakeCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = Batchy.drawn

    def half(self: Batchy, size: int, seed: int) -> Split:
        inputs, labels = drawn(self, size, seed)
        labels[: size // 2] = tasks.IGNORE
        return Split(inputs, labels)

    monkeypatch.setattr(Batchy, "drawn", half)
    condition = replace(
        make(), task=TASKS.component("batchy", fault="half"), target=ARCHITECTURES.component("net")
    )
    Rehearsal().try_out(condition)


def test_program_errors_keep_their_traceback(make: MakeCondition) -> None:
    """An exception that is of no user's module, and no misfit, is not called a mistake."""
    condition = replace(
        make(), task=TASKS.component("batchy", fault="tally"),
        target=ARCHITECTURES.component("net"),
    )  # fmt: skip
    with pytest.raises(KeyError):
        Rehearsal().try_out(condition)


def guided(
    make: MakeCondition, kind: str = "image", control: str = "none", **guidance: Any
) -> Condition:
    state = None if control in ("input", "labels", "uniform") else "untrained"
    return make(kind, control=control, state=state, guidance=guidance)


def test_distances(make: MakeCondition) -> None:
    condition = guided(make, distance=DISTANCES.component("nan"))
    with pytest.raises(
        RehearsalError,
        match=r"^distance 'nan' of target 'fcn.* and guide 'resnet2d.*: it is (nan|inf)",
    ):
        Rehearsal().try_out(condition)


@pytest.mark.parametrize(
    ("name", "fault", "given"),
    [
        ("nan", "none", "Nan gives None; it must give a tensor of shape "),
        ("nan", "number", "Nan gives 0.5; it must give a tensor of shape "),
        ("nan", "a value a row", r"Nan gives shape \(\d+,\); it must give a tensor of shape \(\):"),
        ("learning", "no module", "Learning.connect gives 3, no nn.Module"),
        ("learning", "none", "Connected gives None; it must give a tensor of shape "),
        ("learning", "a value a row", r"Connected gives shape \(\d+, 1\); it must give"),
    ],
)
def test_a_distance_is_one_number(name: str, fault: str, given: str, make: MakeCondition) -> None:
    condition = guided(make, distance=DISTANCES.component(name, fault=fault))
    with pytest.raises(RehearsalError, match=f"^distance '{name}.* of target 'fcn.*: {given}"):
        Rehearsal().try_out(condition)


@pytest.mark.parametrize("kind", ["image", "token"])
@pytest.mark.parametrize(
    "control", ["none", "shuffled", "input", "labels", "noise", "reversed", "self"]
)
def test_controls(kind: str, control: str, make: MakeCondition) -> None:
    rows = "tokens" if kind == "token" else "examples"
    condition = guided(make, kind, control, rows=rows)
    if (kind, control) == ("token", "reversed"):
        with pytest.raises(RehearsalError, match="in reverse order the guide's taps have the same"):
            Rehearsal().try_out(condition)
        return
    Rehearsal().try_out(condition)


@pytest.mark.parametrize("name", [n for n in DISTANCES.names() if n not in ("nan", "distillation")])
def test_distances_that_train(name: str, make: MakeCondition) -> None:
    kind, rows = ("token", "tokens") if name == "linear_regression" else ("image", "examples")
    condition = guided(make, kind, distance=DISTANCES.component(name), rows=rows)
    Rehearsal().try_out(condition)


@pytest.mark.parametrize("mapping", ["all_pairs", "last", "nearest", "evenly_spaced"])
def test_mappings(mapping: str, make: MakeCondition) -> None:
    Rehearsal().try_out(guided(make, mapping=MAPPINGS.component(mapping)))


def test_a_control_without_a_source_is_refused(
    make: MakeCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one of a user that forgets its `return`; a guide that is too large has none, too."""
    monkeypatch.setattr(Input, "source", lambda _self, _context: None)
    with pytest.raises(RehearsalError, match="control 'input': its source returned None"):
        Rehearsal().try_out(guided(make, control="input"))


class Source:
    """The features of a control that goes wrong as a test says."""

    def __init__(self, taps: tuple[str, ...], fault: str) -> None:
        self.taps, self.fault = taps, fault

    def features(self, batch: Batch, step: int) -> Any:
        size = len(batch.labels)
        right = torch.randn(size, 4)
        wrong = {
            "flat": right[:, 0],
            "an array": right.numpy(),
            "more rows": torch.zeros(size + 1, 4),
        }
        if self.fault in ("None", "no tap"):
            return {"None": None, "no tap": {}}[self.fault]
        return dict.fromkeys(self.taps, wrong[self.fault])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("None", "its source gives NoneType; features gives a tensor by tap, of "),
        ("no tap", r"its source gives \[\]; features gives a tensor by tap"),
        ("flat", r"its source gives shape \(3,\) at '.*' for a batch of 3; features gives a"),
        ("an array", "its source gives a ndarray at"),
        ("more rows", r"its source gives shape \(4, 4\) at '.*' for a batch of 3"),
    ],
)
def test_features_of_a_control_are_looked_at(
    fault: str, message: str, make: MakeCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Input, "source", lambda _self, context: Source(context.taps, fault))
    with pytest.raises(RehearsalError, match=f"control 'input': {message}"):
        Rehearsal().try_out(guided(make, control="input"))


@pytest.mark.parametrize("control", ["none", "uniform", "shuffled"])
@pytest.mark.parametrize("kind", ["image", "token"])
def test_answers(kind: str, control: str, make: MakeCondition) -> None:
    distance = DISTANCES.component("distillation")
    Rehearsal().try_out(guided(make, kind, control, distance=distance))


def test_large_networks_are_looked_at_without_values(
    make: MakeCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "MAX_PARAMETERS", 10)
    monkeypatch.setattr(architectures, "build", lambda *_a: pytest.fail("it was built"))
    tried = Rehearsal()
    tried.try_out(guided(make))
    with pytest.raises(RehearsalError, match=r"answers a batch of 2 with \(2, 11\)"):
        tried.try_out(network("logits", make))


def test_random_inputs_stand_in_for_absent_data(
    make: MakeCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Batchy, "data_digest", lambda _task: tasks.ABSENT)
    monkeypatch.setattr(Batchy, "load", lambda _task: pytest.fail("it was loaded"))
    condition = replace(
        guided(make), task=TASKS.component("batchy"), target=ARCHITECTURES.component("net"),
    )  # fmt: skip
    assert condition.guidance is not None
    guide = replace(condition.guidance.term.guide, architecture=ARCHITECTURES.component("cnn1d"))
    Rehearsal().try_out(changed(condition, guide=guide))


def test_it_leaves_no_trace(make: MakeCondition) -> None:
    torch.manual_seed(3)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    Rehearsal().try_out(guided(make))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
