"""What a condition will cost, measured on a few of its steps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

from trainers.condition import Condition, Guide
from trainers.loop import Run, guide_source, guided_steps
from trainers.streams import isolated
from trainers.taps import record

_WARM_STEPS, _TIMED_STEPS = 2, 5


def expected_seconds(condition: Condition) -> float:
    """Training time of one replicate in seconds, from a few steps on this machine.

    An untrained guide stands in for a trained one: it costs the same. Loads the task's data.
    """
    condition = _with_untrained_guide(condition)
    with isolated(condition.train.threads):
        source = (
            None if condition.guidance is None else guide_source(condition, 0, None, keep=False)
        )
        run = Run(condition, 0, source, lambda _payload: None)
        run.evaluate(with_taps=False)
        evaluating = _seconds(lambda: run.evaluate(with_taps=False))
        aligning = _seconds(lambda: run.align("initial"))
        guided = guided_steps(condition, run.task.num_train)
        plain = run.num_steps - guided
        steps = guided * _step_seconds(run, 0) if guided else 0.0
        steps += plain * _step_seconds(run, guided) if plain else 0.0
    reports = run.num_steps // condition.train.report_steps(run.task.num_train)
    return steps + (reports + 2) * evaluating + 2 * aligning


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _step_seconds(run: Run, step: int) -> float:
    taps = () if run.guided_loss is None else run.guided_loss.target_taps
    run.network.train()
    with record(run.network, taps) as outputs:
        times = [
            _seconds(lambda: float(run.step(step, outputs)["train/loss"]))
            for _ in range(_WARM_STEPS + _TIMED_STEPS)
        ]
    return statistics.median(times[_WARM_STEPS:])


def _with_untrained_guide(condition: Condition) -> Condition:
    guidance = condition.guidance
    if guidance is None or guidance.guide.train is None:
        return condition
    guide = Guide(
        architecture=guidance.guide.architecture, state="untrained", batch_norm="calibrated"
    )
    return replace(condition, guidance=replace(guidance, guide=guide))
