"""Architectures: constructors of networks for a task's input and output, with named taps.

A factory is called as `factory(input, output, **options)` and returns a `Network`. Its keyword-only
parameters are its options. One architecture (or one family) is one file of this package.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, get_args

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from trainers.errors import UserError
from trainers.registry import Component, Registry, UnknownNameError
from trainers.tasks import InputKind, InputSpec, OutputSpec

#: The tap of a network's logits; not one of `Network.taps`.
LOGITS = "logits"


class Network(nn.Module):
    """A network that names its taps: submodules whose outputs take part in alignment.

    `taps` are submodule names in depth order. A module that runs more than once in a forward pass
    is tapped by call: `cell:1` is the output of its first call. For token inputs a tap's output is
    (batch, time, features) or a tuple that begins with it; otherwise all but the batch dimension is
    flattened to features.
    """

    taps: tuple[str, ...]


class NetworkError(UserError):
    """A network that cannot take part in a study; the message says what is wrong with it."""


class TapPlace(NamedTuple):
    """Submodule that a tap names and, if it runs more than once, the number of the call from 1."""

    module: str
    call: int | None = None

    @classmethod
    def of(cls, tap: str, modules: dict[str, nn.Module]) -> TapPlace:
        """The place that a tap names; raises UnknownNameError if there is no such submodule."""
        if tap in modules:
            return cls(tap)
        numbered = re.fullmatch(r"(.+):([1-9][0-9]*)", tap)
        if numbered is None or numbered[1] not in modules:
            raise UnknownNameError("submodule", tap, (name for name in modules if name))
        return cls(numbered[1], int(numbered[2]))


#: A constructor of networks; what it takes is what `register` says.
Factory = Callable[..., Network]
Result = TypeVar("Result")
_KINDS = get_args(InputKind)
#: The registered architectures.
ARCHITECTURES: Registry[Factory] = Registry(
    "architecture", "trainers.architectures", facts=("inputs", "needs")
)


def register(
    name: str, *, inputs: tuple[str, ...], version: int = 1, **info: Any
) -> Callable[[Factory], Factory]:
    """Register an architecture that takes the given kinds of input (image, signal, tokens).

    `needs=` names the extra of this package to install where it takes more than PyTorch. Raises
    UserError for other kinds of input, and as `Registry.register`.
    """
    if not isinstance(inputs, tuple | list) or not inputs or not {*inputs} <= {*_KINDS}:
        raise UserError(
            f"architecture {name!r}: inputs is {inputs!r}; give a tuple of {', '.join(_KINDS)}"
        )
    return ARCHITECTURES.register(name, version=version, inputs=inputs, **info)


def build(component: Component, input: InputSpec, output: OutputSpec) -> Network:
    """The network that a component describes, freshly initialised from PyTorch's generator.

    Raises UserError if the architecture does not take this kind of input, and NetworkError if it
    returns no network, or one whose taps are not as `Network` requires.
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
    """Raise UserError unless this is a network without lazy modules whose taps name submodules."""
    if not isinstance(network, nn.Module):
        raise UserError(f"it returns a {type(network).__name__}, not a Network")
    taps = getattr(network, "taps", None)
    if not isinstance(taps, tuple | list) or not taps or not all(isinstance(t, str) for t in taps):
        raise UserError(
            f"taps is {taps!r}; give a tuple of submodule names in depth order: taps = ('a', 'b')"
        )
    # A shared module is listed under each of its names, because any of them may be a tap.
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


def build_on_meta(component: Component, input: InputSpec, output: OutputSpec) -> Network:
    """The network on PyTorch's meta device: its modules, taps and sizes, without values.

    A network that needs values is built on the CPU, with a warning. Raises UserError as `build`.
    """
    return on_meta(component, lambda: build(component, input, output))


def on_meta(component: Component, work: Callable[[], Result]) -> Result:
    """Run `work` with an architecture on the meta device, where no value is computed.

    If it needs values (`.item()`, NumPy, shapes that depend on data), it runs on the CPU instead,
    and a warning says why. What is wrong there too raises what it raises there.
    """
    try:
        with torch.device("meta"):
            return work()
    except (RuntimeError, TypeError, AttributeError) as error:
        # PyTorch has no exception class for this. Most of its messages name the device; but tests
        # for None and for types of values fail in their own words, as `orthogonal` does.
        if isinstance(error, RuntimeError) and "meta" not in str(error).lower():
            raise
        reason = str(error).partition("\n")[0]
    with torch.random.fork_rng(devices=[]):
        done = work()
    warnings.warn(
        f"architecture {ARCHITECTURES.label(component)} needs values ({reason}); it is planned "
        "from a network on the CPU, which takes its time and memory",
        stacklevel=3,
    )
    return done


def check_input(component: Component, input: InputSpec) -> None:
    """Raise UserError if the architecture does not take this kind of input."""
    takes: tuple[str, ...] = ARCHITECTURES[component.name].info["inputs"]
    if input.kind not in takes:
        raise UserError(
            f"architecture {component.name!r} takes {' or '.join(takes)} inputs, "
            f"and the task's inputs are of kind {input.kind!r} with shape {input.shape}"
        )
