"""Architectures: constructors of networks for a task's input and output, with named taps.

A factory is called as `factory(input, output, **options)` and returns a `Network`. Its keyword-only
parameters are its options. One architecture (or one family) is one file of this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from trainers.registry import Component, Registry
from trainers.shape_rules import ShapeRules
from trainers.tasks import InputSpec, OutputSpec


class Network(nn.Module):
    """A network that names its taps: submodules whose outputs take part in alignment.

    `taps` are submodule names in depth order. Where the input is tokens, a tap's output is
    (batch, time, features) or a tuple that begins with it; elsewhere all but the batch dimension
    is flattened to features.
    """

    taps: tuple[str, ...]


Factory = Callable[..., Network]
ARCHITECTURES: Registry[Factory] = Registry("architecture", __name__)


def register(
    name: str, *, inputs: tuple[str, ...], version: int = 1, **info: Any
) -> Callable[[Factory], Factory]:
    """Register an architecture that takes the given kinds of input (image, signal, tokens).

    `needs=` names the extra of this package to install where it takes more than PyTorch.
    """
    return ARCHITECTURES.register(name, version=version, inputs=inputs, **info)


def build(component: Component, input: InputSpec, output: OutputSpec) -> Network:
    """The network that a component describes, freshly initialised from PyTorch's generator.

    Raises ValueError when the architecture does not take this kind of input.
    """
    check_input(component, input)
    network = ARCHITECTURES[component.name].factory(input, output, **component.kwargs)
    modules = dict(network.named_modules())
    assert network.taps, component
    assert all(tap in modules for tap in network.taps), component
    return network


def blueprint(component: Component, input: InputSpec, output: OutputSpec) -> Network:
    """The network without values, on the meta device: its modules, taps and shapes at no cost.

    Raises ValueError as `build` does.
    """
    with without_values():
        return build(component, input, output)


@contextmanager
def without_values() -> Iterator[None]:
    """Inside, networks are built on the meta device."""
    with torch.device("meta"), _Undrawn(), ShapeRules():
        yield


class _Undrawn(TorchFunctionMode):
    """Skips draws from the normal distribution: on the meta device they import the compiler."""

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.Tensor.normal_, nn.init.normal_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def check_input(component: Component, input: InputSpec) -> None:
    """Raise ValueError when the architecture does not take this kind of input."""
    takes: tuple[str, ...] = ARCHITECTURES[component.name].info["inputs"]
    if input.kind not in takes:
        raise ValueError(
            f"architecture {component.name!r} takes {' or '.join(takes)} inputs, "
            f"and the task's inputs are of kind {input.kind!r} with shape {input.shape}"
        )
