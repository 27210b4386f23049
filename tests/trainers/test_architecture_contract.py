"""What every registered architecture keeps, on every registered task."""

from __future__ import annotations

import subprocess
import sys
import typing
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch import Tensor

from trainers import architectures, taps, tasks
from trainers.architectures import ARCHITECTURES, Network, blueprint
from trainers.tasks import TASKS, Task

BATCH = 4
#: Their outputs are too many for tests of every architecture; other tasks are of their form.
LARGE = {"wikitext103"}
PAIRS = list(product(ARCHITECTURES.names(), [name for name in TASKS.names() if name not in LARGE]))


def accepts(architecture: str, task: str) -> bool:
    kind = tasks.build(TASKS.component(task)).input.kind
    return kind in ARCHITECTURES[architecture].info["inputs"]


MATCHING = [pair for pair in PAIRS if accepts(*pair)]
OPTIONS = [
    (name, option, parameter.annotation)
    for name in ARCHITECTURES.names()
    for option, parameter in ARCHITECTURES[name].parameters.items()
]


def build(name: str, task: Task, seed: int = 0, **options: Any) -> Network:
    torch.manual_seed(seed)
    component = ARCHITECTURES.component(name, **options)
    return architectures.build(component, task.input, task.output)


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
    assert {name for name, _ in MATCHING} == set(ARCHITECTURES.names())
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
    chain = [*outputs.values(), logits]
    for before, after in pairwise(chain):
        (gradient,) = torch.autograd.grad(
            after.square().sum(), before, retain_graph=True, allow_unused=True
        )
        assert gradient is not None


@pytest.mark.parametrize(("name", "task_name"), MATCHING)
def test_weights_are_a_function_of_the_seed(name: str, task_name: str) -> None:
    task = tasks.build(TASKS.component(task_name))
    first, again, other = (build(name, task, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize(("name", "task_name"), MATCHING)
def test_works_on_the_meta_device(name: str, task_name: str) -> None:
    task = tasks.build(TASKS.component(task_name))
    network = blueprint(ARCHITECTURES.component(name), task.input, task.output)
    logits = network(random_inputs(task, "meta"))
    assert logits.shape == output_shape(task)
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}


def test_a_blueprint_does_not_import_the_compiler() -> None:
    # It takes two seconds, at the start of every command.
    code = """
import sys
from trainers import tasks
from trainers.architectures import ARCHITECTURES, blueprint
task = tasks.build(tasks.TASKS.component("copy_paste"))
for name in ("rnn", "transformer"):
    blueprint(ARCHITECTURES.component(name), task.input, task.output)
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
    logits = [build(name, task, **{option: choice})(inputs) for choice in typing.get_args(kind)]
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
