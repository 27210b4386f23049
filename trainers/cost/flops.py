"""What a training costs in floating-point operations, counted from shapes: nothing is computed.

Networks run forward without values, and each matrix product, convolution and attention counts as
PyTorch's own counter has it: a multiplication and an addition are two operations. Evaluation is
left out. A backward pass is twice a forward pass. On small networks other things take longer: so
what operators write, and how often they are called, is counted too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry

from trainers import architectures, controls, tasks
from trainers.architectures import Network
from trainers.architectures.shape_rules import ShapeRules
from trainers.architectures.taps import LOGITS, shapes, to_rows
from trainers.conditions.cache_form import DEFAULT_BYTES
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guidance
from trainers.registry import Component
from trainers.runtime.devices import on_cpu
from trainers.runtime.streams import isolated
from trainers.tasks import InputSpec, Task

#: Calls of an optimiser for each parameter tensor, of a distance for each pair of taps, and of all
#: else in a step; and how often an optimiser goes over the parameters.
_OPTIMIZER_CALLS, _PAIR_CALLS, _STEP_CALLS = 8, 40, 100
_OPTIMIZER_PASSES = 8
#: What shows a machine's pace: the size of a product and of a long vector, the depth of a network.
_SIZE, _LENGTH, _DEPTH = 256, 2**18, 20
_PACE_SECONDS = 0.03


class Work(NamedTuple):
    """Floating-point operations, elements that operators write, and calls of operators."""

    flops: float = 0.0
    elements: float = 0.0
    calls: float = 0.0

    def plus(self, other: Work, times: float = 1.0) -> Work:
        """This and `times` another."""
        return Work(*(mine + times * its for mine, its in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Pace:
    """How fast a machine works: operations a second, and seconds for an element and a call."""

    flops_per_second: float
    element_seconds: float = 0.0
    call_seconds: float = 0.0

    def seconds(self, work: Work) -> float:
        """How long some work takes."""
        return (
            work.flops / self.flops_per_second
            + work.elements * self.element_seconds
            + work.calls * self.call_seconds
        )


class _Counter(ShapeRules):  # type: ignore[no-untyped-call]
    """Adds up what operators do that are called in its context."""

    def __init__(self) -> None:
        super().__init__()
        self.flops, self.elements, self.calls = 0, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = super().__torch_dispatch__(func, types, args, kwargs)
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=output)
        # Views and new tensors cost next to nothing beside what computes.
        if not (func.is_view or "empty" in func.__name__):
            self.calls += 1
            written = output[0] if isinstance(output, tuple) else output
            self.elements += written.numel() if isinstance(written, Tensor) else 0
        return output


@dataclass(frozen=True)
class Forward:
    """A forward pass of a batch: work, tap outputs (batch, ...) without values; a step's update.

    `taps` are in depth order.
    """

    work: Work
    taps: tuple[str, ...]
    outputs: Mapping[str, Tensor]
    optimizer: Work


def forward(network: Network, input: InputSpec, batch_size: int) -> Forward:
    """The forward pass of a blueprint for a batch."""
    counter = _Counter()
    outputs = shapes(network, input, batch_size, counter)
    sizes = [parameter.numel() for parameter in network.parameters()]
    update = Work(0, _OPTIMIZER_PASSES * sum(sizes), _OPTIMIZER_CALLS * len(sizes))
    work = Work(counter.flops, counter.elements, counter.calls)
    return Forward(work, network.taps, outputs, update)


def training(condition: Condition) -> Work:
    """All work of one replicate's training; loads no data.

    A step is a forward and a backward pass of the target and its optimiser. In a guided step the
    distances of the mapped pairs come on top, and the guide's forward pass where its features are
    not kept: kept ones are computed once for all training examples.
    """
    task = tasks.build(condition.task)
    batch_size = condition.train.batch_size
    steps = condition.train.num_steps(task.num_train)
    target = _forward(condition.target, condition.task, batch_size)
    plain = target.optimizer.plus(target.work, 3).plus(Work(calls=_STEP_CALLS))
    guidance = condition.guidance
    if guidance is None:
        return Work().plus(plain, steps)
    align_steps = guidance.schedule.align_steps
    guided_steps = align_steps + guidance.schedule.guided_steps(steps)
    total = Work().plus(plain, steps + align_steps)
    total = total.plus(_compared(condition, guidance, target), guided_steps)
    if not guidance.runs_guide:
        return total
    guide = _forward(guidance.guide.architecture, condition.task, batch_size)
    passes = guided_steps
    if task.num_train is not None and _keeps(condition, guidance, guide, task):
        passes = min(passes, condition.train.epoch_steps(task.num_train))
    return total.plus(guide.work, passes)


def pace() -> Pace:
    """How fast a thread of this machine is: a matrix product, a long vector, a small network."""
    with on_cpu(), isolated(threads=1):
        matrix, vector = torch.ones(_SIZE, _SIZE), torch.ones(_LENGTH)
        layers = [nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(_DEPTH)]
        network, batch = nn.Sequential(*layers), torch.ones(8, 8)
        product = _seconds(lambda: matrix @ matrix)
        element = _seconds(vector.tanh) / _LENGTH
        step = _seconds(lambda: network(batch).sum().backward())
    # Two calls a layer, and a backward pass counts twice, as everywhere here.
    return Pace(2 * _SIZE**3 / product, element, step / (3 * 2 * _DEPTH))


def _seconds(work: Callable[[], object]) -> float:
    """The shortest of the times that fit into a moment, of this process: others may be at work."""
    work()
    ended = time.process_time() + _PACE_SECONDS
    shortest = math.inf
    while (started := time.process_time()) < ended:
        work()
        shortest = min(shortest, time.process_time() - started)
    return shortest


@lru_cache(maxsize=256)
def _forward(architecture: Component, task: Component, batch_size: int) -> Forward:
    built = tasks.build(task)
    network = architectures.blueprint(architecture, built.input, built.output)
    return forward(network, built.input, batch_size)


def _compared(condition: Condition, guidance: Guidance, target: Forward) -> Work:
    """The distances of all pairs, forward and, to the target's features, backward."""
    total = Work()
    for mine, its in _rows(condition, guidance, target):
        leading, (n, p) = math.prod(mine[:-2]), mine[-2:]
        written = 3 * leading * n * (n + p)
        total = total.plus(Work(leading * pair_flops(n, p, its), written, _PAIR_CALLS))
    return total


def pair_flops(n: int, p: int, q: int) -> int:
    """Operations of a distance between features (n, p) with gradient and (n, q) without.

    Those of linear CKA: from the Gram matrices (n, n) of both, or from the products of features
    (p, q), (p, p) and (q, q), whichever is less.
    """
    return min(2 * n * n * (3 * p + q), 2 * n * (3 * p * q + 3 * p * p + q * q))


def _rows(
    condition: Condition, guidance: Guidance, target: Forward
) -> Iterator[tuple[torch.Size, int]]:
    """By pair: the shape (..., n, p) of the target's rows, and the width q of the guide's."""
    input = tasks.build(condition.task).input
    control = controls.of(guidance)
    guide = _forward(guidance.guide.architecture, condition.task, condition.train.batch_size)
    for pair in controls.pairs_of(guidance, target.taps, guide.taps):
        mine = to_rows(target.outputs[pair.target], guidance.rows, input.kind).shape
        if control.shows_taps:
            yield mine, to_rows(guide.outputs[pair.guide], guidance.rows, input.kind).shape[-1]
        else:
            yield mine, control.row_width(input, guidance.rows)


def _keeps(condition: Condition, guidance: Guidance, guide: Forward, task: Task) -> bool:
    """Whether the guide's features of all training examples are computed once."""
    assert task.num_train is not None
    if task.augmented or guidance.guide.batch_norm == "batch":
        return False
    if guidance.cache is not None:
        return guidance.cache.form != "live"
    values = sum(output.numel() for tap, output in guide.outputs.items() if tap != LOGITS)
    return 4 * values * task.num_train // condition.train.batch_size <= DEFAULT_BYTES
