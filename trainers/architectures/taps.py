"""Reading the activations of named taps during a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from trainers.architectures import LOGITS, NetworkError, TapPlace
from trainers.tasks import InputKind

__all__ = ["LOGITS", "Rows", "overwritten", "record", "to_rows"]

#: Meaning of the rows of features that a distance compares; see `to_rows`.
Rows = Literal["examples", "pooled", "positions", "tokens"]


@contextmanager
def record(
    network: nn.Module,
    taps: Iterable[str],
    *,
    overwritten: Collection[str] | None = None,
    called: nn.Module | None = None,
    when: Callable[[], bool] = lambda: True,
) -> Iterator[dict[str, Tensor]]:
    """Record the output of each tap at every forward pass inside the context.

    Yields a dict that holds, after a forward pass, tap -> output (batch, ...) as its module
    returned it, before any later change in place. `overwritten` are the taps whose outputs are
    changed in place; None: found out in the first forward pass. `called` is the module that is
    called in the place of the network, such as its compiled form. `when` says before each forward
    pass whether it is recorded: the dict is empty after one that is not. A forward pass raises
    NetworkError if a tap's module is not called, is called more than once, or returns no tensor.
    """
    recorder = _Recorder(network, tuple(taps), overwritten, when)
    handles = recorder.attach(network, network if called is None else called)
    try:
        yield recorder.outputs
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def overwritten(network: nn.Module, taps: Iterable[str], inputs: Tensor) -> frozenset[str]:
    """Taps whose outputs the network later changes in place in a forward pass of `inputs`.

    For forward passes in inference mode, whose tensors do not count changes, so that `record`
    cannot find out.
    """
    recorder = _Recorder(network, tuple(taps), None, when=lambda: True)
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
    """Records the tap outputs of the last forward pass.

    An output that is later changed in place is copied as soon as it is returned. The first forward
    pass copies all and finds out which change, because tensors count their changes. Outputs that do
    not change are recorded themselves, in the first pass too, so that every pass has the same bits.
    """

    def __init__(
        self,
        network: nn.Module,
        taps: tuple[str, ...],
        overwritten: Collection[str] | None,
        when: Callable[[], bool],
    ) -> None:
        self.outputs: dict[str, Tensor] = {}
        self._when = when
        #: Taps whose outputs are copied; None: not known yet, so all of them.
        self.copied = None if overwritten is None else set(overwritten)
        modules = dict(network.named_modules(remove_duplicate=False))
        self._taps = taps
        #: Taps by module and number of the call; None: the module's only call.
        self._taps_of: dict[str, dict[int | None, str]] = {}
        for tap in taps:
            place = TapPlace("") if tap == LOGITS else TapPlace.of(tap, modules)
            self._taps_of.setdefault(place.module, {})[place.call] = tap
        #: Calls by module in this forward pass; None in one that is not recorded, and outside of
        #: one, where modules run again to recompute activations for the backward pass.
        self._calls: dict[str, int] | None = None
        #: Outputs of this forward pass before any copy, by tap.
        self._originals: dict[str, Tensor] = {}
        self._versions: dict[str, int] = {}

    def attach(self, network: nn.Module, called: nn.Module) -> list[RemovableHandle]:
        """Attach hooks to the modules of the taps, and before and after a call of `called`."""
        handles = [called.register_forward_pre_hook(self._begin)]
        handles += [
            network.get_submodule(module).register_forward_hook(self._hook(module, by_call))
            for module, by_call in self._taps_of.items()
        ]
        return [*handles, called.register_forward_hook(self._end)]

    def _begin(self, _network: nn.Module, _inputs: Any) -> None:
        self.outputs.clear()
        self._calls = {} if self._when() else None

    def _hook(self, module: str, by_call: Mapping[int | None, str]) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if self._calls is None:
                return
            self._calls[module] = call = self._calls.get(module, 0) + 1
            if None in by_call and call > 1:
                raise NetworkError(
                    f"tap {by_call[None]!r}: its module runs more than once in a forward pass; "
                    f"number its calls in taps ('{module}:1', '{module}:2', ...), or give each "
                    "place a module of its own"
                )
            tap = by_call.get(None, by_call.get(call))
            if tap == LOGITS and not isinstance(output, Tensor):
                raise NetworkError(
                    f"it answers with a {type(output).__name__}; forward returns one tensor"
                )
            if tap is not None:
                self._record(tap, output[0] if isinstance(output, tuple) else output)

        return hook

    def _record(self, tap: str, output: Any) -> None:
        if not isinstance(output, Tensor):
            raise NetworkError(
                f"tap {tap!r}: its module gives a {type(output).__name__}, not a tensor "
                "(batch, ...) or a tuple that begins with one"
            )
        if torch.compiler.is_compiling():
            # Compiled code does not count changes, and removes copies that nothing needs.
            self.outputs[tap] = output.clone()
            return
        copied = self.copied is None or tap in self.copied
        self.outputs[tap] = output.clone() if copied else output
        if not output.is_inference():
            self._originals[tap], self._versions[tap] = output, output._version

    def _end(self, _network: nn.Module, _inputs: Any, _answer: Any) -> None:
        if self._calls is None:
            return
        self._calls = None
        missing = [tap for tap in self._taps if tap not in self.outputs]
        if missing:
            raise NetworkError(
                f"tap {missing[0]!r}: its module is not called in the forward pass"
                + (" so often" if ":" in missing[0] else "")
            )
        originals, self._originals = self._originals, {}
        changed = {t for t, output in originals.items() if output._version != self._versions[t]}
        if self.copied is None:
            # Inference tensors do not count changes: then nothing is known.
            if len(originals) == len(self._taps):
                self.copied = changed
                self.outputs |= {t: output for t, output in originals.items() if t not in changed}
        elif changed - self.copied:
            raise NetworkError(
                f"tap {min(changed - self.copied)!r}: its output is changed in place in some "
                "forward passes only"
            )


def to_rows(output: Tensor, rows: Rows, kind: InputKind, mask: Tensor | None = None) -> Tensor:
    """Arrange a tap's output (batch, ...) in rows for a distance.

    examples: (batch, features), everything but the batch flattened. pooled: (batch, channels),
    averaged over positions. tokens: (batch * positions, channels), each position of each example a
    row. positions: (positions, batch, channels), one distance per position, to be averaged.

    Positions are those of time, or of space in convolutional features (batch, channels, ...); an
    output without positions has one. `mask` (batch, time) is true at positions that count: the
    others are zero in `examples`, left out of the mean in `pooled`, and no rows in `tokens`. It has
    no effect on `positions`, where the caller leaves them out, nor on an output without positions.
    """
    if output.dim() == 2:
        mask = None
    if rows == "examples":
        return (output if mask is None else output * mask[..., None]).flatten(1)
    channels_last = _channels_last(output, kind)
    if rows == "pooled":
        if output.dtype in (torch.bfloat16, torch.float16):
            # The mean is part of the distance, and in these types would keep three digits.
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
    # Three dimensions are tokens (a Transformer on images too), except in convolutions of signals.
    if output.dim() == 3 and kind != "signal":
        return output
    return output.flatten(2).transpose(1, 2)
