"""Shapes without values: as PyTorch's own kernels have them, and without importing the compiler."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.helpers.reduced import REDUCED
from trainers import architectures
from trainers.architectures import ARCHITECTURES
from trainers.architectures.shape_rules import ShapeRules
from trainers.architectures.taps import LOGITS, record, shapes
from trainers.tasks import InputSpec, OutputSpec

INPUTS = {
    "image": InputSpec(kind="image", shape=(3, 32, 16)),
    "signal": InputSpec(kind="signal", shape=(2, 40)),
    "tokens": InputSpec(kind="tokens", shape=(7,), vocabulary=11),
}
CASES = [
    (name, kind)
    for name in ARCHITECTURES.names()
    for kind in ARCHITECTURES[name].info["inputs"]
    if "needs" not in ARCHITECTURES[name].info
]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_networks_have_the_shapes_that_they_have_with_values(name: str, kind: str) -> None:
    output = OutputSpec(num_classes=5, per_position=kind == "tokens")
    component = ARCHITECTURES.component(name, **REDUCED.get(name, {}))
    found = shapes(architectures.blueprint(component, INPUTS[kind], output), INPUTS[kind], 3)
    network = architectures.build(component, INPUTS[kind], output).eval()
    inputs = torch.ones(3, *INPUTS[kind].shape)
    with torch.no_grad(), record(network, (*network.taps, LOGITS)) as outputs:
        network(inputs.long() if kind == "tokens" else inputs)
    assert {tap: tensor.shape for tap, tensor in found.items()} == {
        tap: tensor.shape for tap, tensor in outputs.items()
    }


def filled(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.ones(shape, dtype=dtype)


INDEX = torch.tensor([0, 2])
#: By operator: calls of it on what `make` gives, with values or without.
CALLS: dict[str, Callable[[Callable[[Tensor], Tensor]], Any]] = {
    "add": lambda make: make(filled(4, 1, 3)) + make(filled(5, 1)),
    "add int and float": lambda make: make(filled(4, dtype=torch.int64)) + make(filled(2, 4)),
    "add a scalar": lambda make: make(filled(4, dtype=torch.int64)) + 1.5,
    "add bool and int": lambda make: make(filled(2, dtype=torch.bool)) * make(INDEX),
    "sub": lambda make: 1 - make(filled(3)),
    "div": lambda make: make(filled(2, 3)) / make(filled(3)),
    "div of whole numbers": lambda make: make(INDEX) / 2,
    "floor division": lambda make: make(INDEX) // 2,
    "exp": lambda make: make(filled(2)).exp(),
    "exp of whole numbers": lambda make: make(INDEX).exp(),
    "sqrt": lambda make: make(filled(2)).sqrt(),
    "in place": lambda make: make(filled(2, 3)).add_(1).mul_(2).relu_(),
    "compare": lambda make: make(filled(2, 1)) > make(filled(3)),
    "compare with a scalar": lambda make: make(INDEX) != 0,
    "where": lambda make: torch.where(make(filled(3, 1) > 0), make(filled(2)), make(filled(1))),
    "clamp": lambda make: make(filled(3)).clamp(min=1),
    "tril": lambda make: make(filled(3, 3)).tril(),
    "view": lambda make: make(filled(2, 3, 4)).view(-1, 4),
    "flatten": lambda make: make(filled(2, 3, 4)).transpose(1, 2).flatten(1),
    "to": lambda make: make(INDEX).to(torch.float64),
    "mm": lambda make: make(filled(2, 3)) @ make(filled(3, 4)),
    "bmm": lambda make: torch.bmm(make(filled(5, 2, 3)), make(filled(5, 3, 4))),
    "linear": lambda make: functional.linear(
        make(filled(2, 6, 3)), make(filled(4, 3)), make(filled(4))
    ),
    "embedding": lambda make: functional.embedding(make(INDEX), make(filled(5, 3))),
    "mean": lambda make: make(filled(2, 3, 4)).mean(-1, keepdim=True),
    "mean of all": lambda make: make(filled(2, 3)).mean(),
    "sum": lambda make: make(filled(2, 3, 4)).sum((0, 2)),
    "sum of truths": lambda make: make(filled(2, 3) > 0).sum(1),
    "argmax": lambda make: make(filled(2, 3)).argmax(1),
    "argmax of all": lambda make: make(filled(2, 3)).argmax(),
    "stack": lambda make: torch.stack([make(filled(2, 3))] * 4, -1),
    "cat": lambda make: torch.cat([make(filled(2, 3)), make(filled(2, 5))], 1),
    "index": lambda make: make(filled(4, 5, 6))[make(INDEX), make(INDEX)],
    "index after a slice": lambda make: make(filled(4, 5, 6))[:, make(INDEX)],
    "softmax": lambda make: make(filled(2, 3)).softmax(1),
    "layer norm": lambda make: functional.layer_norm(make(filled(2, 3)), (3,)),
    "batch norm": lambda make: nn.functional.batch_norm(
        make(filled(2, 3, 4)), make(filled(3)), make(filled(3))
    ),
    "convolution": lambda make: functional.conv2d(
        make(filled(2, 4, 9, 8)), make(filled(6, 2, 3, 2)), None, (2, 1), (1, 0), (1, 2), groups=2
    ),
    "convolution of signals": lambda make: functional.conv1d(
        make(filled(2, 4, 9)), make(filled(6, 4, 3)), stride=2
    ),
    "transposed convolution": lambda make: functional.conv_transpose2d(
        make(filled(2, 4, 9, 8)), make(filled(4, 6, 3, 2)), stride=2
    ),
    "convolution of one example": lambda make: functional.conv2d(
        make(filled(4, 9, 8)), make(filled(6, 4, 3, 2))
    ),
    "max pool": lambda make: functional.max_pool2d(make(filled(2, 3, 9, 8)), 3, 2, 1),
    "max pool rounded up": lambda make: functional.max_pool2d(
        make(filled(2, 3, 8, 8)), 3, 2, ceil_mode=True
    ),
    "average pool": lambda make: functional.adaptive_avg_pool2d(make(filled(2, 3, 8, 8)), 2),
}


@pytest.mark.parametrize("name", CALLS)
def test_operators_have_the_shapes_and_types_of_their_results(name: str) -> None:
    with torch.no_grad():
        expected = CALLS[name](lambda tensor: tensor.clone())
        with ShapeRules():
            found = CALLS[name](lambda tensor: tensor.to("meta"))
    assert found.is_meta
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)


#: Calls on what does not fit together.
MISFITS: dict[str, Callable[[], Any]] = {
    "add": lambda: empty(2, 3) + empty(2),
    "where": lambda: torch.where(empty(3) > 0, empty(2), empty(1)),
    "view": lambda: empty(2, 3).view(4, -1),
    "mm": lambda: empty(2, 3) @ empty(4, 5),
    "bmm": lambda: torch.bmm(empty(2, 3, 4), empty(3, 4, 5)),
    "linear": lambda: functional.linear(empty(2, 3), empty(4, 5), empty(4)),
    "bias": lambda: functional.linear(empty(2, 3), empty(4, 3), empty(5)),
    "convolution": lambda: functional.conv2d(empty(2, 3, 8, 8), empty(4, 2, 3, 3)),
    "kernel": lambda: functional.conv2d(empty(2, 3, 2, 2), empty(4, 3, 3, 3)),
    "max pool": lambda: functional.max_pool2d(empty(2, 3, 1, 1), 2),
    "layer norm": lambda: functional.layer_norm(empty(2, 3), (4,)),
    "batch norm": lambda: functional.batch_norm(empty(2, 3), empty(4), empty(4)),
    "stack": lambda: torch.stack([empty(2), empty(3)]),
    "cat": lambda: torch.cat([empty(2, 3), empty(3, 4)], 1),
}


def empty(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_is_an_error_of_pytorch(name: str) -> None:
    with pytest.raises(RuntimeError) as expected:
        MISFITS[name]()
    with pytest.raises(RuntimeError) as found, ShapeRules():
        MISFITS[name]()
    assert str(found.value) == str(expected.value)


def test_what_is_made_without_values_has_its_length() -> None:
    with ShapeRules():
        for bounds in ((5,), (2, 9), (0, 9, 2)):
            found = torch.arange(*bounds, device="meta")
            expected = torch.arange(*bounds)
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
            assert found.is_meta
        assert torch.arange(3).tolist() == [0, 1, 2]
        assert torch.arange(0.0, 1.0, 0.25, device="meta").shape == (4,)
        assert torch.eye(3, device="meta").shape == (3, 3)
        assert torch.eye(3, 2, device="meta").shape == (3, 2)


def test_values_are_left_alone() -> None:
    with ShapeRules():
        assert (torch.ones(2) + 1).tolist() == [2.0, 2.0]


def test_no_compiler_is_imported() -> None:
    code = """
import sys
from trainers import architectures
from trainers.cost import flops
from trainers.architectures import ARCHITECTURES
from trainers.tasks import InputSpec, OutputSpec
inputs = {
    "image": InputSpec(kind="image", shape=(3, 32, 16)),
    "signal": InputSpec(kind="signal", shape=(2, 40)),
    "tokens": InputSpec(kind="tokens", shape=(7,), vocabulary=11),
}
for name in ARCHITECTURES.names():
    if "needs" in ARCHITECTURES[name].info:
        continue
    for kind in ARCHITECTURES[name].info["inputs"]:
        output = OutputSpec(num_classes=5, per_position=kind == "tokens")
        made = architectures.blueprint(ARCHITECTURES.component(name), inputs[kind], output)
        flops.forward(made, inputs[kind], 3)
        for module in ("sympy", "torch._dynamo"):
            assert module not in sys.modules, (name, module)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
