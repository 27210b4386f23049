"""Reading the activations of named taps during a forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from trainers.architectures import Network
from trainers.condition import Rows
from trainers.shape_rules import ShapeRules
from trainers.tasks import InputKind, InputSpec

#: The tap that is a network's answer; no part of `Network.taps`.
LOGITS = "logits"


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

    modules = {tap: network if tap == LOGITS else network.get_submodule(tap) for tap in taps}
    handles = [module.register_forward_hook(hook(tap)) for tap, module in modules.items()]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def shapes(
    network: Network, input: InputSpec, batch_size: int, rules: ShapeRules | None = None
) -> dict[str, Tensor]:
    """Outputs of all taps and of `LOGITS` for a batch, on the meta device: shapes without values.

    `network` is a blueprint; `rules` may look at the operators that it calls.
    """
    dtype = torch.long if input.kind == "tokens" else torch.float32
    inputs = torch.zeros(batch_size, *input.shape, dtype=dtype, device="meta")
    taps = (*network.taps, LOGITS)
    with torch.no_grad(), record(network.eval(), taps) as outputs, rules or ShapeRules():
        network(inputs)
    return outputs


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
