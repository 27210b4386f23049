"""What a study will cost: from the store's own past runs, else measured on a few steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from study.plan import Planned
from study.progress import Progress
from trainers.condition import Condition
from trainers.schedule import Schedule


@dataclass(frozen=True)
class Estimate:
    """Expected training seconds by replicate id, and of what is still to train in total.

    0 for what never ran and cannot be timed, because the data of its task is not here.
    """

    seconds: dict[str, float]
    todo_seconds: float


def estimate(progress: Progress, *, on_measure: Callable[[str], object] | None = None) -> Estimate:
    """Expected training time of every replicate, on one worker of this machine.

    A condition takes what it took before in this store (the mean over its seeds). Where it never
    ran, a few of its steps are timed now, once for all conditions that cost the same.
    """
    measured: dict[Any, float] = {}
    absent = progress.plan.absent()
    seconds: dict[str, float] = {}
    for planned in progress.plan.conditions:
        cost = _from_store(planned, progress)
        todo = any(progress.states[i].status == "missing" for i in planned.ids.values())
        if cost is None and todo and planned.labels["task"] not in absent:
            cost = _measure(planned.condition, measured, on_measure)
        for identifier in planned.ids.values():
            seconds[identifier] = cost or 0.0
    return Estimate(seconds, sum(seconds[r.id] for r in progress.todo))


def _from_store(planned: Planned, progress: Progress) -> float | None:
    past = [progress.states[identifier].result for identifier in planned.ids.values()]
    times = [result["train_seconds"] for result in past if result is not None]
    return sum(times) / len(times) if times else None


def _measure(
    condition: Condition, measured: dict[Any, float], on_measure: Callable[[str], object] | None
) -> float:
    from trainers.timing import expected_seconds

    key = _same_cost(condition)
    if key not in measured:
        if on_measure is not None:
            guidance = condition.guidance
            guide = "" if guidance is None else f" guided by {guidance.guide.architecture.name}"
            what = "a few steps" if condition.weights is None else "an evaluation"
            on_measure(f"timing {what} of {condition.target.name}{guide} on {condition.task.name}")
        measured[key] = expected_seconds(condition)
    return measured[key]


def _same_cost(condition: Condition) -> Any:
    """What decides the cost: not alpha, the guide's state or training, nor a shuffle."""
    guidance = condition.guidance
    train = replace(condition.train, lr=1.0, weight_decay=0.0)
    if guidance is None:
        return condition.task, condition.target, train
    control = "none" if guidance.control == "shuffled" else guidance.control
    schedule = guidance.schedule
    when = Schedule(stop_step=schedule.stop_step, align_first=schedule.align_first)
    return (
        condition.task, condition.target, train, guidance.guide.architecture, control,
        guidance.distance, guidance.rows, guidance.mapping, when,
        guidance.guide.batch_norm == "batch", guidance.guide_inputs,
    )  # fmt: skip
