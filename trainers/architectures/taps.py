"""Reading the activations of named taps during a forward pass."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from trainers.architectures import LOGITS, NetworkError, TapPlace
from trainers.tasks import InputKind

__all__ = ["LOGITS", "Rows", "overwritten", "record", "to_rows"]

#: What the rows of features are that a distance compares; see `to_rows`.
Rows = Literal["examples", "pooled", "positions", "tokens"]


@contextmanager
def record(
    network: nn.Module,
    taps: Iterable[str],
    *,
    overwritten: Collection[str] | None = None,
    called: nn.Module | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Record the output of each tap at every forward pass inside the context.

    Yields a dict that holds, after a forward pass, tap -> output (batch, ...) as its module gave
    it, whatever happened to it later in place. `overwritten` says to which taps that happens, where
    it is known; `called` is what is called in the place of the network, its compiled form. In a
    forward pass NetworkError is raised where a tap's module is not called, is
    called more than once, or gives no tensor.
    """
    recorder = _Recorder(network, tuple(taps), overwritten)
    handles = recorder.attach(network, network if called is None else called)
    try:
        yield recorder.outputs
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def overwritten(network: nn.Module, taps: Iterable[str], inputs: Tensor) -> frozenset[str]:
    """The taps whose outputs the network changes in place later in a forward pass of `inputs`.

    To be asked where `record` cannot see it: tensors of inference mode do not count changes.
    """
    recorder = _Recorder(network, tuple(taps), None)
    handles = recorder.attach(network, network)
    try:
        with torch.inference_mode(mode=False):
            network(inputs.clone())
    finally:
        for handle in handles:
            handle.remove()
    assert recorder.copied is not None
    return frozenset(recorder.copied)


class _Recorder:
    """Keeps what taps gave in the last forward pass.

    An output that something changes in place later is copied when it is given. Whether that happens
    is seen in the first forward pass, where all are copied: tensors count their changes. What is
    not changed is kept itself, in the first pass too, so that every pass has the same bits.
    """

    def __init__(
        self, network: nn.Module, taps: tuple[str, ...], overwritten: Collection[str] | None
    ) -> None:
        self.outputs: dict[str, Tensor] = {}
        #: Taps whose outputs are copied; None: not known yet, so all are.
        self.copied = None if overwritten is None else set(overwritten)
        modules = dict(network.named_modules(remove_duplicate=False))
        self._taps = taps
        #: By module: the taps by number of the call; None: of the only one.
        self._wanted: dict[str, dict[int | None, str]] = {}
        for tap in taps:
            place = TapPlace("") if tap == LOGITS else TapPlace.of(tap, modules)
            self._wanted.setdefault(place.module, {})[place.call] = tap
        #: Calls by module in this forward pass; outside of one, modules may run again to no effect
        #: (when activations are recomputed for the backward pass).
        self._calls: dict[str, int] | None = None
        self._given: dict[str, Tensor] = {}
        self._versions: dict[str, int] = {}

    def attach(self, network: nn.Module, called: nn.Module) -> list[RemovableHandle]:
        """Hooks on the modules of the taps, and before and after a call of the whole."""
        handles = [called.register_forward_pre_hook(self._begin)]
        handles += [
            network.get_submodule(module).register_forward_hook(self._keep(module, wanted))
            for module, wanted in self._wanted.items()
        ]
        return [*handles, called.register_forward_hook(self._end)]

    def _begin(self, _network: nn.Module, _inputs: Any) -> None:
        self.outputs.clear()
        self._calls = {}

    def _keep(self, module: str, wanted: Mapping[int | None, str]) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if self._calls is None:
                return
            self._calls[module] = call = self._calls.get(module, 0) + 1
            if None in wanted and call > 1:
                raise NetworkError(
                    f"tap {wanted[None]!r}: its module runs more than once in a forward pass; "
                    f"number its calls in taps ('{module}:1', '{module}:2', ...), or give each "
                    "place a module of its own"
                )
            tap = wanted.get(None, wanted.get(call))
            if tap is not None:
                self._take(tap, output[0] if isinstance(output, tuple) else output)

        return hook

    def _take(self, tap: str, output: Any) -> None:
        if not isinstance(output, Tensor):
            raise NetworkError(
                f"tap {tap!r}: its module gives a {type(output).__name__}, not a tensor "
                "(batch, ...) or a tuple that begins with one"
            )
        if torch.compiler.is_compiling():
            # Compiled code does not count changes, and drops copies that nothing needs.
            self.outputs[tap] = output.clone()
            return
        copied = self.copied is None or tap in self.copied
        self.outputs[tap] = output.clone() if copied else output
        if not output.is_inference():
            self._given[tap], self._versions[tap] = output, output._version

    def _end(self, _network: nn.Module, _inputs: Any, _answer: Any) -> None:
        self._calls = None
        missing = [tap for tap in self._taps if tap not in self.outputs]
        if missing:
            raise NetworkError(
                f"tap {missing[0]!r}: its module is not called in the forward pass"
                + (" so often" if ":" in missing[0] else "")
            )
        given, self._given = self._given, {}
        changed = {tap for tap, output in given.items() if output._version != self._versions[tap]}
        if self.copied is None:
            # Of tensors that do not count changes nothing is known.
            if len(given) == len(self._taps):
                self.copied = changed
                self.outputs |= {tap: output for tap, output in given.items() if tap not in changed}
        elif changed - self.copied:
            raise NetworkError(
                f"tap {min(changed - self.copied)!r}: its output is changed in place in some "
                "forward passes only"
            )


def to_rows(output: Tensor, rows: Rows, kind: InputKind, mask: Tensor | None = None) -> Tensor:
    """Arrange a tap's output (batch, ...) for a distance.

    examples: (batch, features), everything but the batch flattened. pooled: (batch, channels),
    averaged over positions. tokens: (batch * positions, channels), each position of each example a
    row. positions: (positions, batch, channels), one distance each, to be averaged.

    Positions are those of time, or of space in convolutional features (batch, channels, ...); an
    output without positions has one. `mask` (batch, time) says which positions of a sequence count:
    the others are zero among the features of an example, left out of its mean, and no rows of
    tokens. Where positions are compared one by one it is the caller's to leave them out.
    """
    if rows == "examples":
        return (output if mask is None else output * mask[..., None]).flatten(1)
    channels_last = _channels_last(output, kind)
    if rows == "pooled":
        if output.dtype in (torch.bfloat16, torch.float16):
            # A mean is part of the distance, and of those types it would keep three digits.
            channels_last = channels_last.float()
        if mask is None:
            return channels_last.mean(1)
        weights = mask[..., None].to(channels_last.dtype)
        return (channels_last * weights).sum(1) / weights.sum(1).clamp(min=1)
    if rows == "tokens":
        return channels_last.flatten(0, 1) if mask is None else channels_last[mask]
    return channels_last.transpose(0, 1)


def _channels_last(output: Tensor, kind: InputKind) -> Tensor:
    """The output as (batch, positions, channels)."""
    if output.dim() == 2:
        return output[:, None]
    # Three dimensions are tokens (a Transformer on images too), but for convolutions of signals.
    if output.dim() == 3 and kind != "signal":
        return output
    return output.flatten(2).transpose(1, 2)
