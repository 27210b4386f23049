"""Expected training time of a condition, measured on a few of its steps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guide, Term
from trainers.guides.pool import GuidePool
from trainers.messages import silent
from trainers.runtime.streams import isolated
from trainers.tasks import Split
from trainers.training import evaluation
from trainers.training.loop import Run
from trainers.training.setup import RunSetup
from trainers.training.train import guide_sources

#: Steps before those that are timed, and number of these.
WARM_STEPS, TIMED_STEPS = 2, 5


def expected_seconds(condition: Condition, guides: GuidePool | None = None) -> float:
    """Training time of one replicate in seconds, from a few steps on this machine.

    An untrained guide stands in for a trained or pretrained one: it costs the same. The spec's
    cache is not built, so the time is that without it, which is more. Loads the task's data.
    Conditions that are timed with the same pool share their `guides`.
    """
    if condition.guidance is not None:
        condition = condition.with_terms(*map(_simplified, condition.terms))
    with isolated(condition.train.threads):
        setup = RunSetup.of(condition, 0)
        guides = GuidePool() if guides is None else guides
        run = Run(setup, guide_sources(setup, None, guides, keep=False), silent)
        align, guided = run.schedule.align_steps, run.guided_steps
        counts = (align, len(guided), run.train_steps - len(guided))
        firsts = (0, align, align + (len(guided) if guided.step == 1 else 1))
        steps = sum(
            count * _step_seconds(run, first)
            for count, first in zip(counts, firsts, strict=True)
            if count
        )
        if not run.num_steps:
            run.evaluate(with_taps=False)
        # After the steps, which have loaded the data and warmed everything up.
        evaluating = _evaluation_seconds(run)
        aligning = _seconds(lambda: run.align("initial"))
    reports = run.num_steps // condition.train.report_steps(run.task.num_train)
    return steps + (reports + 2) * evaluating + 2 * aligning


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _evaluation_seconds(run: Run) -> float:
    validation = run.task.validation
    if validation.lazy is None:
        return _seconds(lambda: run.evaluate(with_taps=False))
    # Extrapolated from one part: decoding all would take as long as the evaluation itself.
    part = slice(min(run.task.forward_batch, len(validation.labels)))

    def evaluate() -> None:
        split = Split(validation.inputs[part], validation.labels[part])
        evaluation.evaluate(run.network, run.task, split, run.device)

    return _seconds(evaluate) * len(validation.labels) / part.stop


def _step_seconds(run: Run, step: int) -> float:
    run.network.train()
    with run.recording() as outputs:
        times = [
            _seconds(lambda: float(run.step(step, outputs)["train/loss"]))
            for _ in range(WARM_STEPS + TIMED_STEPS)
        ]
    return statistics.median(times[WARM_STEPS:])


def _simplified(term: Term) -> Term:
    """A term without the spec's cache, its guide untrained."""
    term = replace(term, cache=None)
    if term.guide.state is None or term.guide.batch_norm == "batch":
        return term
    # Not calibrated: the cost of a step is the same.
    guide = Guide(architecture=term.guide.architecture, state="untrained", batch_norm="eval")
    return replace(term, guide=guide)
