"""Our architectures keep the contract that `trainers.testing` ships, on each kind of input."""

from __future__ import annotations

import math
import typing
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.reduced import REDUCED
from trainers import architectures, tasks
from trainers.architectures import ARCHITECTURES, Network
from trainers.registry import Component
from trainers.tasks import TASKS, Task
from trainers.tasks.batches import noise
from trainers.testing import check_architecture

#: One task for each kind of input; of tokens, answers at every position and one for all of them.
TASKS_OF = {
    "image": ("translated_digits",),
    "signal": ("mnist1d",),
    "tokens": ("copy_paste", "parity"),
}
#: Those that need no library beside PyTorch; the others are in test_library.py.
NAMES = [name for name in ARCHITECTURES.names() if "needs" not in ARCHITECTURES[name].info]
PAIRS = [
    (name, task)
    for name in NAMES
    for kind in ARCHITECTURES[name].info["inputs"]
    for task in TASKS_OF[kind]
]


def component(name: str, task: Task, **options: Any) -> Component:
    """The architecture, small, and with patches that suit the task's images."""
    small = dict(REDUCED.get(name, {}))
    if "patch" in ARCHITECTURES[name].parameters and task.input.kind == "image":
        _, height, width = task.input.shape
        small["patch"] = math.gcd(height, width, 4)
    return ARCHITECTURES.component(name, **small | options)


def build(name: str, task: Task, **options: Any) -> Network:
    torch.manual_seed(0)
    return architectures.build(component(name, task, **options), task.input, task.output)


def inputs_of(task: Task) -> Tensor:
    return noise(task.input, 4, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "task"), PAIRS)
def test_contract(name: str, task: str) -> None:
    check_architecture(component(name, tasks.build(TASKS.component(task))), task)


@pytest.mark.parametrize("kind", TASKS_OF)
def test_other_kinds_of_input_are_refused(kind: str) -> None:
    task = tasks.build(TASKS.component(TASKS_OF[kind][0]))
    others = [name for name in NAMES if kind not in ARCHITECTURES[name].info["inputs"]]
    assert others
    for name in others:
        with pytest.raises(ValueError, match=f"{name!r}.*{kind!r}"):
            build(name, task)


@pytest.mark.parametrize("name", NAMES)
def test_each_choice_of_an_option_builds(name: str) -> None:
    task = tasks.build(TASKS.component(next(task for other, task in PAIRS if other == name)))
    parameters = ARCHITECTURES[name].parameters
    # Dropout would make any two of them differ.
    fixed = {"dropout": 0.0} if "dropout" in parameters else {}
    for option, parameter in parameters.items():
        if typing.get_origin(parameter.annotation) is not typing.Literal:
            continue
        networks = [
            build(name, task, **{option: choice}, **fixed)
            for choice in typing.get_args(parameter.annotation)
        ]
        first, *others = [network(inputs_of(task)) for network in networks]
        assert all(logits.isfinite().all() for logits in (first, *others)), option
        assert not any(torch.equal(first, logits) for logits in others), option


@pytest.mark.parametrize("name", [n for n in NAMES if "dropout" in ARCHITECTURES[n].parameters])
def test_dropout_is_a_probability(name: str) -> None:
    task = tasks.build(TASKS.component(next(task for other, task in PAIRS if other == name)))
    for bad in (-0.1, 1.0):
        with pytest.raises(ValueError, match=f"{name}.*{bad}"):
            build(name, task, dropout=bad)


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
    inputs = inputs_of(task)
    changed = inputs.clone()
    changed[:, 10:] = (changed[:, 10:] + 1) % 10
    before, after = network(inputs), network(changed)
    torch.testing.assert_close(before[:, :10], after[:, :10], rtol=0, atol=1e-6)
    assert not torch.allclose(before[:, 10:], after[:, 10:])
