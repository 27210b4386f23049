"""What every registered architecture keeps, on every registered task."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import typing
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.reduced import REDUCED
from trainers import architectures, tasks
from trainers.architectures import ARCHITECTURES, Network, blueprint, taps
from trainers.registry import Component
from trainers.tasks import TASKS, Task

BATCH = 4
#: Those that need no library beside PyTorch; the others are in test_library.py.
NAMES = [name for name in ARCHITECTURES.names() if "needs" not in ARCHITECTURES[name].info]
#: Their outputs are too many for tests of every architecture; other tasks are of their form.
LARGE = {"wikitext103"}
PAIRS = list(product(NAMES, [name for name in TASKS.names() if name not in LARGE]))
#: Part of the names of taps that are called after others that they do not follow from.
BESIDE = "downsample"


def accepts(architecture: str, task: str) -> bool:
    kind = tasks.build(TASKS.component(task)).input.kind
    return kind in ARCHITECTURES[architecture].info["inputs"]


MATCHING = [pair for pair in PAIRS if accepts(*pair)]
OPTIONS = [
    (name, option, parameter.annotation)
    for name in NAMES
    for option, parameter in ARCHITECTURES[name].parameters.items()
]


def component(name: str, task: Task, **options: Any) -> Component:
    """The architecture, small, and with patches that suit the task's images."""
    small = dict(REDUCED.get(name, {}))
    if "patch" in ARCHITECTURES[name].parameters and task.input.kind == "image":
        _, height, width = task.input.shape
        small["patch"] = math.gcd(height, width, 4 if height < 64 else 16)
    return ARCHITECTURES.component(name, **small | options)


def build(name: str, task: Task, seed: int = 0, **options: Any) -> Network:
    torch.manual_seed(seed)
    return architectures.build(component(name, task, **options), task.input, task.output)


def random_inputs(task: Task, device: str = "cpu") -> Tensor:
    shape = (BATCH, *task.input.shape)
    if task.input.kind == "tokens":
        assert task.input.vocabulary is not None
        return torch.randint(task.input.vocabulary, shape, device=device)
    return torch.randn(shape, device=device)


def output_shape(task: Task) -> tuple[int, ...]:
    time = task.input.shape if task.output.per_position else ()
    return (BATCH, *time, task.output.num_classes)


def test_every_architecture_meets_a_task() -> None:
    assert {name for name, _ in MATCHING} == set(NAMES)
    assert {task for _, task in MATCHING} == set(TASKS.names()) - LARGE


@pytest.mark.parametrize(("name", "task_name"), [p for p in PAIRS if p not in MATCHING])
def test_impossible_pairs_are_refused(name: str, task_name: str) -> None:
    task = tasks.build(TASKS.component(task_name))
    with pytest.raises(ValueError, match=f"{name!r}.*{task.input.kind!r}"):
        build(name, task)


@pytest.mark.parametrize(("name", "task_name"), MATCHING)
def test_logits_and_gradients(name: str, task_name: str) -> None:
    task = tasks.build(TASKS.component(task_name))
    network = build(name, task)
    logits = network(random_inputs(task))
    assert logits.shape == output_shape(task)
    assert logits.isfinite().all()
    labels = torch.randint(task.output.num_classes, logits.shape[:-1])
    task.loss(logits, labels).backward()
    gradients = {key: p.grad for key, p in network.named_parameters()}
    assert [key for key, gradient in gradients.items() if gradient is None] == []
    assert all(g is not None and g.isfinite().all() for g in gradients.values())
    assert any(g is not None and g.any() for g in gradients.values())


@pytest.mark.parametrize(("name", "task_name"), MATCHING)
def test_taps_fire_in_depth_order(name: str, task_name: str) -> None:
    task = tasks.build(TASKS.component(task_name))
    network = build(name, task)
    with taps.record(network, reversed(network.taps)) as outputs:
        network(random_inputs(task))
    assert tuple(outputs) == network.taps
    assert len(set(network.taps)) == len(network.taps)
    for output in outputs.values():
        assert len(output) == BATCH
        assert output.isfinite().all()
        if task.input.kind == "tokens":
            assert output.dim() == 3
            assert output.shape[1] == task.input.shape[0]


@pytest.mark.parametrize(("name", "task_name"), MATCHING)
def test_each_tap_reaches_the_next(name: str, task_name: str) -> None:
    # Depth order in the sense of what is computed from what, not only of when it is called.
    task = tasks.build(TASKS.component(task_name))
    network = build(name, task).eval()
    with taps.record(network, network.taps) as outputs:
        logits = network(random_inputs(task))
    beside = [tap for tap in outputs if BESIDE in tap]
    chain = [*(output for tap, output in outputs.items() if tap not in beside), logits]
    assert all(itertools.starmap(follows, pairwise(chain)))
    for tap in beside:
        place = network.taps.index(tap)
        following = next(t for t in network.taps[place + 1 :] if t not in beside)
        assert follows(outputs[tap], outputs[following])


def follows(before: Tensor, after: Tensor) -> bool:
    (gradient,) = torch.autograd.grad(
        after.square().sum(), before, retain_graph=True, allow_unused=True
    )
    return gradient is not None


@pytest.mark.parametrize(("name", "task_name"), MATCHING)
def test_weights_are_a_function_of_the_seed(name: str, task_name: str) -> None:
    task = tasks.build(TASKS.component(task_name))
    first, again, other = (build(name, task, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize(("name", "task_name"), MATCHING)
def test_works_on_the_meta_device(name: str, task_name: str) -> None:
    task = tasks.build(TASKS.component(task_name))
    network = blueprint(component(name, task), task.input, task.output)
    logits = network(random_inputs(task, "meta"))
    assert logits.shape == output_shape(task)
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}


def test_a_blueprint_does_not_import_the_compiler() -> None:
    # It takes two seconds, at the start of every command.
    code = f"""
import sys
from trainers.architectures import ARCHITECTURES, blueprint
from trainers.tasks import InputSpec, OutputSpec
inputs = {{
    "image": InputSpec(kind="image", shape=(3, 224, 224)),
    "signal": InputSpec(kind="signal", shape=(1, 40)),
    "tokens": InputSpec(kind="tokens", shape=(20,), vocabulary=10),
}}
for name in {NAMES}:
    kind = ARCHITECTURES[name].info["inputs"][0]
    blueprint(ARCHITECTURES.component(name), inputs[kind], OutputSpec(num_classes=10))
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("name", "task_name"), MATCHING)
def test_examples_do_not_depend_on_each_other_in_evaluation(name: str, task_name: str) -> None:
    task = tasks.build(TASKS.component(task_name))
    network = build(name, task).eval()
    inputs = random_inputs(task)
    together, alone = network(inputs), network(inputs[1:2])
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "option", "kind"), OPTIONS)
def test_bad_options_are_refused(name: str, option: str, kind: Any) -> None:
    bad: Any = "bogus" if typing.get_origin(kind) is typing.Literal else -1
    task = next(t for n, t in MATCHING if n == name)
    with pytest.raises(ValueError, match=option if bad == "bogus" else name):
        build(name, tasks.build(TASKS.component(task)), **{option: bad})


@pytest.mark.parametrize(
    ("name", "option", "kind"),
    [row for row in OPTIONS if typing.get_origin(row[2]) is typing.Literal],
)
def test_each_choice_of_an_option_builds(name: str, option: str, kind: Any) -> None:
    task = tasks.build(TASKS.component(next(t for n, t in MATCHING if n == name)))
    inputs = random_inputs(task)
    # Dropout would make any two of them differ.
    fixed = {"dropout": 0.0} if "dropout" in ARCHITECTURES[name].parameters else {}
    choices = typing.get_args(kind)
    logits = [build(name, task, **{option: choice}, **fixed)(inputs) for choice in choices]
    assert all(output.isfinite().all() for output in logits)
    assert not any(torch.equal(logits[0], output) for output in logits[1:])


def test_orthogonal_initialisation() -> None:
    task = tasks.build(TASKS.component("copy_paste"))
    recurrent = build("rnn", task, init="orthogonal").get_parameter("layers.layer1.weight_hh_l0")
    torch.testing.assert_close(recurrent @ recurrent.T, torch.eye(64), atol=1e-5, rtol=0)
    task = tasks.build(TASKS.component("mnist1d"))
    hidden = build("fcn", task, width=32, init="orthogonal").get_parameter("hidden.layer2.0.weight")
    torch.testing.assert_close(hidden @ hidden.T, 2 * torch.eye(32), atol=1e-5, rtol=0)


def test_transformer_is_causal() -> None:
    task = tasks.build(TASKS.component("copy_paste"))
    network = build("transformer", task).eval()
    inputs = random_inputs(task)
    changed = inputs.clone()
    changed[:, 10:] = (changed[:, 10:] + 1) % 10
    before, after = network(inputs), network(changed)
    torch.testing.assert_close(before[:, :10], after[:, :10], rtol=0, atol=1e-6)
    assert not torch.allclose(before[:, 10:], after[:, 10:])
