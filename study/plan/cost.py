"""What a study will cost: from the store's own past runs, else timed or counted from shapes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from study.plan.progress import Progress
from study.plan.replicates import PlannedCondition
from study.spec.read import Resources
from trainers import controls, tasks
from trainers.conditions.condition import Condition
from trainers.conditions.schedule import Schedule
from trainers.cost import flops
from trainers.cost.flops import Pace, Work
from trainers.runtime.devices import on_cpu

#: What a GPU is taken to do where none can be asked.
GPU_FLOPS_PER_SECOND = 50e12


@dataclass(frozen=True)
class Counted:
    """What is known from shapes alone of replicates still to train."""

    num_replicates: int = 0
    flops: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """Expected training seconds by replicate id, and of what is still to train in total.

    `counted` is the part that nothing was timed for; on GPUs it is at `GPU_FLOPS_PER_SECOND` each.
    `num_unknown` replicates have no estimate.
    """

    seconds: dict[str, float]
    todo_seconds: float
    counted: Counted = field(default_factory=Counted)
    num_unknown: int = 0


def estimate(
    progress: Progress, *, measure: bool, on_measure: Callable[[str], object] | None = None
) -> Estimate:
    """Expected training time of every replicate, on one worker.

    A condition takes what it took before in this store (the mean over its seeds). Where it never
    ran, a few of its steps are timed if `measure`, once for all conditions that cost the same.
    Else, and where this machine has not the data or the GPUs, its operations are counted.
    """
    coster = _Coster(progress.plan.resources, measure, on_measure)
    seconds: dict[str, float] = {}
    counted, num_unknown = Counted(), 0
    for planned in progress.plan.conditions:
        cost = _from_store(planned, progress)
        # Pretrained weights are one replicate for all seeds.
        ids = set(planned.ids.values())
        todo = [i for i in ids if progress.states[i].status == "missing"]
        if cost is None and todo:
            found = coster.cost(planned.condition)
            cost, num = found.seconds, len(todo)
            num_unknown += num * (cost is None)
            if found.flops is not None:
                counted = Counted(
                    counted.num_replicates + num,
                    counted.flops + num * found.flops,
                    counted.seconds + num * (cost or 0.0),
                )
        for identifier in planned.ids.values():
            seconds[identifier] = cost or 0.0
    total = sum(seconds[r.id] for r in progress.todo)
    return Estimate(seconds, total, counted, num_unknown)


@dataclass(frozen=True)
class _Cost:
    """Expected seconds of a replicate; `flops` where they were counted."""

    seconds: float | None
    flops: float | None = None


class _Coster:
    """Times or counts conditions, those that cost the same once."""

    def __init__(
        self, resources: Resources, measure: bool, on_measure: Callable[[str], object] | None
    ) -> None:
        self._resources, self._measure, self._on_measure = resources, measure, on_measure
        self._known: dict[Any, _Cost] = {}
        self._pace: Pace | None = None

    def cost(self, condition: Condition) -> _Cost:
        """What a replicate of it costs."""
        key = _same_cost(condition)
        if key not in self._known:
            can_time = self._can_time(condition)
            if self._measure and can_time:
                self._known[key] = self._timed(condition)
            else:
                self._known[key] = self._counted(condition, can_time)
        return self._known[key]

    def _can_time(self, condition: Condition) -> bool:
        """Whether this machine has what the condition trains on: its data and its GPUs."""
        absent = tasks.build(condition.task).data == tasks.ABSENT
        return not absent and (self._resources.gpus == 0 or torch.cuda.is_available())

    def _timed(self, condition: Condition) -> _Cost:
        from trainers.cost.timing import expected_seconds

        if self._on_measure is not None:
            guidance = condition.guidance
            guide = "" if guidance is None else f" guided by {guidance.guide.architecture.name}"
            what = "a few steps" if condition.weights is None else "an evaluation"
            self._on_measure(
                f"timing {what} of {condition.target.name}{guide} on {condition.task.name}"
            )
        with nullcontext() if self._resources.gpus else on_cpu():
            try:
                return _Cost(expected_seconds(condition))
            except Exception:
                # What is wrong with it, or too large for this machine, costs its own replicates,
                # which say so, and no others.
                return _Cost(None)

    def _counted(self, condition: Condition, can_time: bool) -> _Cost:
        try:
            work: Work = flops.training(condition)
        except RuntimeError:
            # A network that looks at values has no shapes without them.
            return self._timed(condition) if can_time else _Cost(None)
        if self._pace is None:
            gpus = self._resources.gpus
            self._pace = Pace(GPU_FLOPS_PER_SECOND * gpus) if gpus else flops.pace()
        return _Cost(self._pace.seconds(work), work.flops)


def _from_store(planned: PlannedCondition, progress: Progress) -> float | None:
    past = [progress.states[identifier].result for identifier in planned.ids.values()]
    times = [result.train_seconds for result in past if result is not None]
    return sum(times) / len(times) if times else None


def _same_cost(condition: Condition) -> Any:
    """What decides the cost: not alpha, the guide's state or training, nor a shuffle."""
    guidance = condition.guidance
    train = replace(condition.train, lr=1.0, weight_decay=0.0)
    if guidance is None:
        return condition.task, condition.target, train
    control = controls.of(guidance).works_like or guidance.control
    schedule = guidance.schedule
    when = Schedule(stop_step=schedule.stop_step, align_first=schedule.align_first)
    return (
        condition.task, condition.target, train, guidance.guide.architecture, control,
        guidance.distance, guidance.rows, guidance.mapping, when,
        guidance.guide.batch_norm == "batch", guidance.guide_inputs,
    )  # fmt: skip
