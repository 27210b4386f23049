"""Architectures: constructors of networks for a task's input and output, with named taps.

A factory is called as `factory(input, output, **options)` and returns a `Network`. Its keyword-only
parameters are its options. One architecture (or one family) is one file of this package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from trainers.architectures.shape_rules import ShapeRules
from trainers.errors import UserError
from trainers.registry import Component, Registry, UnknownNameError
from trainers.tasks import InputSpec, OutputSpec

#: The tap that is a network's answer; no part of `Network.taps`.
LOGITS = "logits"


class Network(nn.Module):
    """A network that names its taps: submodules whose outputs take part in alignment.

    `taps` are submodule names in depth order. A module that runs more than once in a forward pass
    is tapped by call: `cell:1` is what its first call gave. Where the input is tokens, a tap's
    output is (batch, time, features) or a tuple that begins with it; elsewhere all but the batch
    dimension is flattened to features.
    """

    taps: tuple[str, ...]


class NetworkError(UserError):
    """A network that cannot take part in a study; the message says what is wrong with it."""


class TapPlace(NamedTuple):
    """Where a tap is: a submodule's name and, where it runs more than once, which call (from 1)."""

    module: str
    call: int | None = None

    @classmethod
    def of(cls, tap: str, modules: dict[str, nn.Module]) -> TapPlace:
        """The place that a tap names; raises UnknownNameError where there is no such submodule."""
        if tap in modules:
            return cls(tap)
        numbered = re.fullmatch(r"(.+):([1-9][0-9]*)", tap)
        if numbered is None or numbered[1] not in modules:
            raise UnknownNameError("submodule", tap, (name for name in modules if name))
        return cls(numbered[1], int(numbered[2]))


Factory = Callable[..., Network]
ARCHITECTURES: Registry[Factory] = Registry("architecture", "trainers.architectures")


def register(
    name: str, *, inputs: tuple[str, ...], version: int = 1, **info: Any
) -> Callable[[Factory], Factory]:
    """Register an architecture that takes the given kinds of input (image, signal, tokens).

    `needs=` names the extra of this package to install where it takes more than PyTorch.
    """
    return ARCHITECTURES.register(name, version=version, inputs=inputs, **info)


def build(component: Component, input: InputSpec, output: OutputSpec) -> Network:
    """The network that a component describes, freshly initialised from PyTorch's generator.

    Raises ValueError when the architecture does not take this kind of input, and NetworkError when
    it returns no network, or one whose taps are not what `Network` says.
    """
    check_input(component, input)
    network: Network = ARCHITECTURES.make(component, input, output)
    try:
        _check(network)
    except ValueError as error:
        raise NetworkError(f"architecture {component.name!r}: {error}") from error
    network.taps = tuple(network.taps)
    return network


def _check(network: Any) -> None:
    """Raise ValueError unless this is a network, with sizes, whose taps name submodules."""
    if not isinstance(network, nn.Module):
        raise UserError(f"it returns a {type(network).__name__}, not a Network")
    taps = getattr(network, "taps", None)
    if not isinstance(taps, tuple | list) or not taps or not all(isinstance(t, str) for t in taps):
        raise UserError(
            f"taps is {taps!r}; give a tuple of submodule names in depth order: taps = ('a', 'b')"
        )
    # Shared modules under each of their names: any of them may be a tap.
    modules = dict(network.named_modules(remove_duplicate=False))
    places: dict[Any, str] = {}
    for tap in taps:
        if tap == LOGITS:
            raise UserError(
                f"tap {tap!r}: the name stands for the network's answer; rename the submodule"
            )
        try:
            place = TapPlace.of(tap, modules)
        except UnknownNameError as error:
            raise UserError(f"tap {tap!r}: {error}") from error
        key = modules[place.module], place.call
        if key in places:
            raise UserError(
                f"taps {places[key]!r} and {tap!r} are one module: give each a module of its own "
                "(nn.Identity will do), or number its calls (NAME:1, NAME:2, ...)"
            )
        places[key] = tap
    for name, parameter in network.named_parameters():
        if is_lazy(parameter):
            raise UserError(
                f"parameter {name!r} has no size before the first forward pass (a lazy module): "
                "give sizes, which follow from input.shape"
            )


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
        raise UserError(
            f"architecture {component.name!r} takes {' or '.join(takes)} inputs, "
            f"and the task's inputs are of kind {input.kind!r} with shape {input.shape}"
        )
