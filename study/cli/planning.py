"""The command `plan`: a study's replicates and trials, and their expected cost."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any

import typer

from study.cli.console import plan_lines
from study.plan import cost, packing
from study.plan.cost import Estimate
from study.plan.packing import Trial
from study.plan.progress import Progress
from study.run.locations import find_store
from study.search.in_store import StoreResults
from study.study import Study


def show(spec: str, store: str, *, measure: bool, as_json: bool) -> None:
    """Print the plan of a spec against a store; its cost timed if `measure`."""
    study = Study.load(spec)
    place = find_store(store)
    progress = Progress(study.plan(results=StoreResults(place)), place)
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
    for line in plan_lines(progress, estimate, len(trials), spec=spec, store=store):
        typer.echo(line)


def _content(progress: Progress, estimate: Estimate, trials: list[Trial]) -> dict[str, Any]:
    seconds = estimate.seconds
    return {
        "study": progress.plan.name,
        "provisional": list(progress.plan.absent()),
        "notes": progress.plan.notes(),
        "counts": progress.counts(),
        "expected_seconds": estimate.todo_seconds,
        "later": {
            "candidates": progress.plan.later.num_candidates,
            "winners": progress.plan.later.num_winners,
            "expected_seconds": estimate.later_seconds,
        },
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
