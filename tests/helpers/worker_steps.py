"""What the processes of `test_workers` do: one step of a replicate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import cache

import torch
from torch import Tensor, nn

from trainers import tasks
from trainers.conditions.condition import Condition
from trainers.guides.pool import GuidePool
from trainers.parallel.process_group import connected
from trainers.parallel.workers import ALONE, Workers
from trainers.training import train
from trainers.training.loop import Run
from trainers.training.setup import RunSetup

#: Gradients by parameter, losses of the step, and buffers after it.
Step = tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]


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
    with _numbers(condition, dtype):
        setup = RunSetup.of(condition, 0, workers)
        run = Run(setup, train.guide_sources(setup, None, GuidePool()), print)
        run.network.train()
        with (
            workers.global_batch_norm(run.network),
            run.recording() as outputs,
        ):
            losses = run.step(number, outputs)
        parameters = dict(run.network.named_parameters())
        if run.guided_loss is not None:
            learned = run.guided_loss.learned.named_parameters()
            parameters |= {f"learned/{name}": parameter for name, parameter in learned}
        gradients = {n: p.grad for n, p in parameters.items() if p.grad is not None}
        return gradients, losses, dict(run.network.named_buffers())


def normalise_alone(norm: nn.Module, inputs: Tensor, wanted: Tensor) -> list[Tensor]:
    """Batch norm of one process: output, gradients of inputs and parameters, and buffers."""
    return _normalise(norm, inputs, wanted, ALONE)


def normalise_together(norm: nn.Module, inputs: Tensor, wanted: Tensor) -> list[Tensor]:
    """The same of this process's group."""
    return _normalise(norm, inputs, wanted, workers_here())


def _normalise(norm: nn.Module, inputs: Tensor, wanted: Tensor, workers: Workers) -> list[Tensor]:
    # What is sent between processes lies in memory that they share.
    network = nn.Sequential(deepcopy(norm))
    inputs = inputs.clone().requires_grad_()
    with workers.global_batch_norm(network):
        for _ in range(2):
            output = workers.gather(network(workers.shard(inputs)), len(inputs))
        network.eval()
        seen = network(inputs.detach())
    (output - wanted).pow(3).sum().backward()  # type: ignore[no-untyped-call]
    learned = list(network.parameters())
    # Each has the gradient of its own rows, and zeros elsewhere.
    assert inputs.grad is not None
    everything = nn.Parameter(inputs.detach())
    everything.grad = inputs.grad
    workers.sum_gradients([*learned, everything], [])
    gradients = [p.grad for p in (*learned, everything) if p.grad is not None]
    return [output.detach(), seen.detach(), *gradients, *network.buffers()]


@contextmanager
def _numbers(condition: Condition, dtype: torch.dtype) -> Iterator[None]:
    """Inside, networks and data are of this type."""
    tasks.clear_cache()
    drawn = [tasks.build(condition.task)]
    guidance = condition.guidance
    first = None if guidance is None else guidance.schedule.align_first
    if first is not None and first.inputs == "redrawn":
        drawn.append(tasks.redrawn(condition.task, 0))
    for task in drawn:
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
        tasks.clear_cache()
