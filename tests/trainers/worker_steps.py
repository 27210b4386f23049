"""What the processes of `test_workers` do: one step of a replicate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from trainers import loop, taps, tasks
from trainers.condition import Condition
from trainers.group import connected
from trainers.run import Run
from trainers.workers import ALONE, Workers

#: Gradients by parameter, losses of the step, and buffers after it.
Step = tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, torch.Tensor]]


@cache
def workers_here() -> Workers:
    """The workers of this process's group."""
    return connected()


def step_alone(condition: Condition, dtype: torch.dtype, number: int = 0) -> Step:
    """The step of one process."""
    return _step(condition, dtype, number, ALONE)


def step_together(condition: Condition, dtype: torch.dtype, number: int = 0) -> Step:
    """The step of this process's group."""
    return _step(condition, dtype, number, workers_here())


def _step(condition: Condition, dtype: torch.dtype, number: int, workers: Workers) -> Step:
    loop._frozen_guide.cache_clear()
    with _numbers(condition, dtype):
        source = None
        if condition.guidance is not None:
            source = loop.guide_source(condition, 0, None, workers=workers)
        run = Run(condition, 0, source, print, workers)
        run.network.train()
        with (
            workers.global_batch_norm(run.network),
            taps.record(run.network, run.guided_taps) as outputs,
        ):
            losses = run.step(number, outputs)
        parameters = dict(run.network.named_parameters())
        if run.guided_loss is not None:
            learned = run.guided_loss.learned.named_parameters()
            parameters |= {f"learned/{name}": parameter for name, parameter in learned}
        gradients = {n: p.grad for n, p in parameters.items() if p.grad is not None}
        return gradients, losses, dict(run.network.named_buffers())


@contextmanager
def _numbers(condition: Condition, dtype: torch.dtype) -> Iterator[None]:
    """Inside, networks and data are of this type."""
    tasks.build.cache_clear()
    task = tasks.build(condition.task)
    task.__dict__["splits"] = {
        name: split._replace(inputs=split.inputs.to(dtype)) if split.inputs.is_floating_point()
        else split
        for name, split in task.splits.items()
    }  # fmt: skip
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        tasks.build.cache_clear()
