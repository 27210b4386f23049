"""Batch norm over the batch of all workers, exact on any device (`SyncBatchNorm` refuses CPUs).

Statistics are joined from those of the shards (Chan et al. 1979, Updating formulae and a pairwise
algorithm for computing sample variances) in float64: one collective of the channels' size in the
forward pass, and one in the backward pass, where the mean and the variance sum what all workers'
rows send back to them.
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
    """Inside, batch norms in training mode use and record the statistics of all workers' rows.

    Modules, parameters, buffers and hooks stay what they are; only `forward` is another one. Raises
    ValueError where a batch norm has a `forward` of its own, which would be lost.
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
            # On the instance: `Module.__call__` finds it before that of the class.
            vars(norm)["forward"] = partial(_forward, norm)
        yield
    finally:
        for norm in norms:
            vars(norm).pop("forward", None)


def _forward(norm: _BatchNorm, inputs: Tensor) -> Tensor:
    """What `norm` makes of this worker's inputs (rows, channels, ...)."""
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
    """Update running statistics as `nn.BatchNorm1d` does; the variance it keeps is unbiased."""
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
        own_mean = inputs.mean(over, dtype=torch.float64)
        own_spread = (inputs - _along(own_mean, inputs)).square().sum(over, dtype=torch.float64)
        own_count = own_mean.new_full((1,), inputs.numel() // inputs.shape[1])
        own = torch.cat([own_count, own_mean, own_spread])
        parts = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, own)
        counts, means, spreads = torch.split(
            torch.stack(parts), [1, len(own_mean), len(own_mean)], 1
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
    """Half types as float32: as native batch norm, statistics are exact for the values given."""
    return values if values.dtype == torch.float64 else values.float()


def _along(values: Tensor, like: Tensor) -> Tensor:
    """Values (channels,) that broadcast along the channels of a tensor (rows, channels, ...)."""
    return values.to(like.dtype).view(-1, *[1] * (like.dim() - 2))
