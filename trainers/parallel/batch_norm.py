"""Batch norm over the batch of all workers, exact on any device (`SyncBatchNorm` refuses CPUs).

Statistics are combined from those of the shards (Chan et al. 1979, Updating formulae and a pairwise
algorithm for computing sample variances) in float64: one collective of the channels' size in the
forward pass, and one in the backward pass, where the gradients of mean and variance are summed over
all workers' rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def global_batch_norm(network: nn.Module) -> Iterator[None]:
    """Context in which batch norms in training mode use and track the statistics of all workers.

    Modules, parameters, buffers and hooks stay the same; only `forward` is replaced. Raises
    ValueError if a subclass of batch norm has its own `forward`, which would be lost.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        if type(norm).forward is not _BatchNorm.forward:
            raise ValueError(
                f"{type(norm).__name__} computes more than batch norm, and cannot be joined over "
                "workers; train this network with workers: 1"
            )
    try:
        for norm in norms:
            # Set on the instance, where `Module.__call__` finds it before the class's.
            vars(norm)["forward"] = partial(_forward, norm)
        yield
    finally:
        for norm in norms:
            vars(norm).pop("forward", None)


def _forward(norm: _BatchNorm, inputs: Tensor) -> Tensor:
    """Output of `norm` for this worker's inputs (rows, channels, ...), of the same shape."""
    if not norm.training:
        output: Tensor = type(norm).forward(norm, inputs)
        return output
    norm._check_input_dim(inputs)  # type: ignore[no-untyped-call]
    normalised, mean, variance, count = _Normalise.apply(inputs, norm.eps)  # type: ignore[no-untyped-call]
    if norm.track_running_stats:
        _record(norm, mean, variance, count)
    if norm.weight is not None:
        shape = (-1, *[1] * (inputs.dim() - 2))
        normalised = normalised * norm.weight.view(shape) + norm.bias.view(shape)
    result: Tensor = normalised.to(inputs.dtype)
    return result


@torch.no_grad()
def _record(norm: _BatchNorm, mean: Tensor, variance: Tensor, count: Tensor) -> None:
    """Update running statistics as `nn.BatchNorm1d` does; their variance is unbiased."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked += 1
    momentum = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    unbiased = variance * (count / (count - 1.0).clamp(min=1.0))
    for running, new in ((norm.running_mean, mean), (norm.running_var, unbiased)):
        running.mul_(1.0 - momentum).add_(new.to(running.dtype), alpha=momentum)


class _Normalise(torch.autograd.Function):
    """Inputs (rows, channels, ...) less the global mean, over the global standard deviation.

    In float32 or float64. Also returns mean and biased variance (channels,) and the number of
    values of a channel, as float64. With g the gradient of the normalised values x, n of them in
    all workers:

        gradient of an input = (g - mean of g - x * mean of g x) / standard deviation
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        over = [0, *range(2, inputs.dim())]
        ctx.given, inputs = inputs.dtype, _working(inputs)
        shard_mean = inputs.mean(over, dtype=torch.float64)
        centred = inputs - _along(shard_mean, inputs)
        shard_spread = centred.square().sum(over, dtype=torch.float64)
        shard_count = shard_mean.new_full((1,), inputs.numel() // inputs.shape[1])
        shard = torch.cat([shard_count, shard_mean, shard_spread])
        parts = [torch.empty_like(shard) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, shard)
        counts, means, spreads = torch.split(
            torch.stack(parts), [1, len(shard_mean), len(shard_mean)], 1
        )
        count = counts.sum()
        mean = (counts * means).sum(0) / count
        variance = (spreads + counts * (means - mean).square()).sum(0) / count
        scale = (variance + eps).rsqrt()
        normalised = (inputs - _along(mean, inputs)) * _along(scale, inputs)
        ctx.save_for_backward(normalised, scale, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return normalised, mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        normalised, scale, count = ctx.saved_tensors
        gradient = gradients[0]
        over = [0, *range(2, gradient.dim())]
        sums = torch.stack(
            [
                gradient.sum(over, dtype=torch.float64),
                (gradient * normalised).sum(over, dtype=torch.float64),
            ]
        )
        distributed.all_reduce(sums)
        first, second = (_along(total, gradient) for total in sums / count)
        result = (gradient - first - normalised * second) * _along(scale, gradient)
        return result.to(ctx.given), None


def _working(values: Tensor) -> Tensor:
    """Values in float32, or in float64 if they are, as in PyTorch's batch norm."""
    return values if values.dtype == torch.float64 else values.float()


def _along(values: Tensor, like: Tensor) -> Tensor:
    """Reshape values (channels,) to broadcast over a tensor `like` (rows, channels, ...)."""
    return values.to(like.dtype).view(-1, *[1] * (like.dim() - 2))
