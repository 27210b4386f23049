"""A forward pass without values: the shapes of tap outputs, and floating-point operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from trainers.architectures import LOGITS, Network, build, on_meta
from trainers.architectures.taps import record
from trainers.registry import Component, derived
from trainers.tasks import InputSpec, OutputSpec

#: Examples of the batch that is run; shapes and costs of larger batches are in proportion.
BATCH = 2


@dataclass(frozen=True)
class ForwardPass:
    """Outputs of a network for a batch, on the meta device, and its floating-point operations.

    `outputs` are (batch, ...) by tap, those of `LOGITS` included; `taps` are in depth order. A
    multiplication and an addition are two operations. `calls` is the number of operators that
    PyTorch starts, whatever the batch.
    """

    taps: tuple[str, ...]
    outputs: Mapping[str, Tensor]
    flops: float
    calls: int

    def of_batch(self, size: int) -> ForwardPass:
        """The forward pass of a batch of `size`, scaled from this one of `BATCH` examples."""
        outputs = {
            tap: output.new_empty((len(output) * size // BATCH, *output.shape[1:]))
            for tap, output in self.outputs.items()
        }
        return ForwardPass(self.taps, outputs, self.flops * size / BATCH, self.calls)


@derived
@lru_cache(maxsize=256)
def forward_pass(architecture: Component, input: InputSpec, output: OutputSpec) -> ForwardPass:
    """The forward pass of an architecture for a batch of `BATCH`, in evaluation mode.

    It runs on the meta device (see `on_meta`). Raises UserError as `build` does, NetworkError as
    `record` does, and exceptions of the network.
    """
    return on_meta(architecture, lambda: _run(build(architecture, input, output), input))


def tap_shapes(
    architecture: Component, input: InputSpec, output: OutputSpec, taps: Iterable[str]
) -> dict[str, torch.Size]:
    """Shape of the output of each of these taps for one example; raises as `forward_pass` does."""
    outputs = forward_pass(architecture, input, output).outputs
    return {tap: outputs[tap].shape[1:] for tap in taps}


@torch.no_grad()
def _run(network: Network, input: InputSpec) -> ForwardPass:
    dtype = torch.long if input.kind == "tokens" else torch.float32
    inputs = torch.zeros(BATCH, *input.shape, dtype=dtype)
    # Nothing reads the values of tap outputs, so none has to be copied.
    recording = record(network.eval(), (*network.taps, LOGITS), overwritten=())
    counter, calls = FlopCounterMode(display=False), _Calls()  # type: ignore[no-untyped-call]
    with recording as outputs, calls, counter:
        network(inputs)
    shapes = {tap: output.to("meta") for tap, output in outputs.items()}
    return ForwardPass(network.taps, shapes, counter.get_total_flops(), calls.count)


class _Calls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operators."""

    count = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))
