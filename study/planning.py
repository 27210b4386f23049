"""The command `plan`: what a study would train, and what it would cost."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from types import ModuleType
from typing import Any

import torch
import typer

from study import cost, packing
from study.console import plan_lines
from study.cost import Estimate
from study.packing import Trial
from study.progress import Progress
from study.study import Study
from trainers.store import Store


def show(spec: str, store: str, *, measure: bool, as_json: bool) -> None:
    """Print the plan of a spec against a store; its cost timed if `measure`."""
    study = Study.load(spec)
    with nullcontext() if measure else without_compiler():
        progress = Progress(study.plan(), Store(store))
        estimate = cost.estimate(progress, measure=measure)
    resources = study.spec.resources
    slots = max(1, int((os.cpu_count() or 1) / resources.cpus))
    trials = packing.pack(
        progress.todo,
        estimate.seconds,
        slots=slots,
        per_trial=resources.replicates_per_trial,
    )
    if as_json:
        typer.echo(json.dumps(_content(progress, estimate, trials), indent=1))
        return
    for line in plan_lines(progress, estimate, len(trials)):
        typer.echo(line)


def _content(progress: Progress, estimate: Estimate, trials: list[Trial]) -> dict[str, Any]:
    seconds = estimate.seconds
    return {
        "study": progress.plan.name,
        "provisional": list(progress.plan.absent()),
        "counts": progress.counts(),
        "expected_seconds": estimate.todo_seconds,
        "counted": asdict(estimate.counted),
        "trials": [
            {"replicates": [r.id for r in trial.replicates], "expected_seconds": trial.seconds}
            for trial in trials
        ],
        "replicates": [
            r.row() | {"status": progress.states[r.id].status, "expected_seconds": seconds[r.id]}
            for r in progress.plan.replicates
        ],
    }


_COMPILER = "torch._dynamo"


@contextmanager
def without_compiler() -> Iterator[None]:
    """Networks without values run forward without importing PyTorch's compiler (a second).

    Kernels of the meta device are marked as not to be compiled, and the mark imports the compiler
    when they are first called. Here it finds a stand-in, which leaves them as they are; whatever
    else is asked of it comes from the compiler itself. For a process of one thread.
    """
    if _COMPILER in sys.modules:
        yield
        return
    sys.modules[_COMPILER] = torch._dynamo = _NoCompiler(_COMPILER)
    try:
        yield
    finally:
        _forget()


class _NoCompiler(ModuleType):
    @staticmethod
    def disable(kernel: Any, *_args: Any, **_options: Any) -> Any:
        return kernel

    def __getattr__(self, name: str) -> Any:
        _forget()
        return getattr(importlib.import_module(_COMPILER), name)


def _forget() -> None:
    if isinstance(sys.modules.get(_COMPILER), _NoCompiler):
        del sys.modules[_COMPILER], torch._dynamo
