"""Reading the activations of named taps during a forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from trainers.condition import Rows


@contextmanager
def record(network: nn.Module, taps: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Record the output of each tap at every forward pass inside the context.

    Yields a dict that holds, after a forward pass, tap -> output (batch, ...).
    """
    outputs: dict[str, Tensor] = {}

    def hook(tap: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            outputs[tap] = output[0] if isinstance(output, tuple) else output

        return keep

    handles = [network.get_submodule(tap).register_forward_hook(hook(tap)) for tap in taps]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def to_rows(output: Tensor, rows: Rows) -> Tensor:
    """Arrange a tap's output (batch, ...) for a distance.

    examples: (batch, features), everything but the batch flattened; tokens: (batch * time,
    features); positions: (time, batch, features), to be averaged over time.
    """
    if rows == "examples":
        return output.flatten(1)
    if rows == "tokens":
        return output.flatten(0, 1)
    return output.transpose(0, 1)
