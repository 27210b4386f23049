"""The expected cost of a study: from the store's past runs, timed steps or counted operations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from analysis.contract import Status
from study.plan.progress import Progress
from study.plan.replicates import PlannedCondition
from study.spec.read import Resources
from trainers import controls, tasks
from trainers.conditions.condition import Condition
from trainers.conditions.schedule import Schedule
from trainers.cost import flops
from trainers.guides.pool import GuidePool
from trainers.runtime.devices import on_cpu

#: Assumed FLOP/s of a GPU, and of a worker without one, beside the seconds of each operator: on
#: CPUs small networks take as long to start their operators as to compute them.
GPU_FLOPS_PER_SECOND, CPU_FLOPS_PER_SECOND = 50e12, 40e9
#: Seconds that starting an operator takes.
CALL_SECONDS = 7e-6


@dataclass(frozen=True)
class Counted:
    """Replicates still to train whose operations were counted, with their expected seconds.

    `flops_per_second` is the rate of a worker, starting operators included: at the pace of
    replicates which the store has trained or which were timed, else an assumed one.
    """

    num_replicates: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    flops_per_second: float = 0.0
    assumed: bool = True


@dataclass(frozen=True)
class Estimate:
    """Expected training seconds by replicate id, and in total for replicates still to train.

    `counted` is the part that was neither trained nor timed before; `num_unknown` replicates have
    no estimate and count as 0 seconds. `later_seconds` are those of replicates that a search asks
    for later, each like one of its arm that is known.
    """

    seconds: dict[str, float]
    todo_seconds: float
    counted: Counted = field(default_factory=Counted)
    num_unknown: int = 0
    later_seconds: float = 0.0


def estimate(progress: Progress, *, measure: bool = False) -> Estimate:
    """Expected training time of every replicate, on one worker.

    A condition that has run in this store takes the mean time of its finished seeds. Of any other,
    a few steps are timed if `measure` and if this machine has the data and the GPUs; else its
    floating-point operations and its operators are counted (`trainers.cost.flops`).
    """
    resources, conditions = progress.plan.resources, progress.plan.conditions
    known = _past(progress)
    todo = {planned: _num_missing(planned, progress) for planned in conditions}
    new = [planned for planned in conditions if todo[planned] and planned not in known]
    if measure:
        guides = GuidePool()
        known |= _each(lambda condition: _timed(condition, resources, guides), new)
    new = [planned for planned in new if planned not in known]
    work = _each(_counted, new)
    guesses = _each(lambda condition: _guessed(condition, resources), work)
    pace, assumed = _pace(known, resources) if work else (1.0, True)
    costs = known | {planned: guesses[planned] * pace for planned in work}
    seconds = {i: costs.get(planned, 0.0) for planned in conditions for i in planned.ids.values()}
    later = progress.plan.later
    waiting = [*later.candidates.items(), *later.winners.items()]
    num = sum(todo[planned] for planned in work)
    total = sum(todo[planned] * work[planned] for planned in work)
    counted = sum(todo[planned] * costs[planned] for planned in work)
    return Estimate(
        seconds,
        sum(seconds[replicate.id] for replicate in progress.todo),
        Counted(num, total, counted, total / (counted or 1.0), assumed) if work else Counted(),
        sum(todo[planned] for planned in new if planned not in work),
        sum(costs.get(planned, 0.0) * count for planned, count in waiting),
    )


_Costs = dict[PlannedCondition, float]


def _past(progress: Progress) -> _Costs:
    """Mean seconds over the finished seeds of each condition that has any."""
    found = {}
    for planned in progress.plan.conditions:
        past = [progress.states[identifier].result for identifier in planned.ids.values()]
        times = [result.train_seconds for result in past if result is not None]
        if times:
            found[planned] = sum(times) / len(times)
    return found


def _num_missing(planned: PlannedCondition, progress: Progress) -> int:
    # Pretrained weights are one replicate for all seeds.
    return sum(progress.states[i].status == Status.missing for i in set(planned.ids.values()))


def _each(
    cost: Callable[[Condition], float | None], conditions: Iterable[PlannedCondition]
) -> _Costs:
    """The cost of each condition that has one, computed once for conditions of equal cost."""
    known: dict[Any, float | None] = {}
    found = {}
    for planned in conditions:
        key = _same_cost(planned.condition)
        if key not in known:
            known[key] = cost(planned.condition)
        value = known[key]
        if value is not None:
            found[planned] = value
    return found


def _timed(condition: Condition, resources: Resources, guides: GuidePool) -> float | None:
    """Seconds, from a few steps; None where this machine cannot run them."""
    from trainers.cost.timing import expected_seconds

    absent = tasks.build(condition.task).data == tasks.ABSENT
    if absent or (resources.gpus and not torch.cuda.is_available()):
        return None
    # A rehearsal reports what is wrong with the condition or too large for this machine.
    failures = (RuntimeError, ValueError, MemoryError)
    with suppress(*failures), nullcontext() if resources.gpus else on_cpu():
        return expected_seconds(condition, guides)
    return None


def _counted(condition: Condition) -> float | None:
    """Operations; None where the networks do not run."""
    with suppress(RuntimeError):
        return flops.training(condition)
    return None


def _guessed(condition: Condition, resources: Resources) -> float | None:
    """Seconds at the assumed rates; None where the networks do not run."""
    work = _counted(condition)
    if work is None:
        return None
    rate = (GPU_FLOPS_PER_SECOND * resources.gpus) or CPU_FLOPS_PER_SECOND
    return work / rate + flops.calls(condition) * CALL_SECONDS


def _pace(known: _Costs, resources: Resources) -> tuple[float, bool]:
    """Seconds a guessed second; True where it is assumed to be 1, because nothing is known."""
    guesses = _each(lambda condition: _guessed(condition, resources), known)
    guessed = sum(guesses.values())
    if guessed:
        return sum(known[planned] for planned in guesses) / guessed, False
    return 1.0, True


def _same_cost(condition: Condition) -> Any:
    """A key that conditions of equal cost share; alpha, guide state and shuffling do not enter.

    A rival's steps of alignment are among those of its training, those of guidance come on top.
    """
    guidance = condition.guidance
    train = replace(condition.train, lr=1.0, weight_decay=0.0)
    if guidance is None:
        return condition.task, condition.target, train, condition.treatment
    schedule = guidance.schedule
    phases = Schedule(
        stop_step=schedule.stop_step, align_first=schedule.align_first, every=schedule.every
    )
    terms = tuple(
        (
            term.guide.architecture, term.guide.batch_norm == "batch", controls.works_like(term),
            term.distance, term.rows, term.mapping, term.shown_at,
        )
        for term in guidance.terms
    )  # fmt: skip
    is_rival = condition.rival is not None
    return condition.task, condition.target, train, terms, phases, guidance.guide_inputs, is_rival
