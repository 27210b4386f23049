"""What MLflow holds of a study, and what it should."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from analysis.contract import RunKind
from study.plan.progress import Progress
from study.plan.replicates import Replicate
from trainers.conditions.ids import condition_id
from trainers.messages import Report, silent
from trainers.store.store import Store
from trainers.training.saving import StopRequestedError
from trainers.trial.trial import TrialContext, run_trial

#: (step, timestamp, name, value), and how often.
Points = Counter[tuple[int, int, str, float]]


class Tracked:
    """What MLflow holds of a study."""

    def __init__(self, uri: str, study: str) -> None:
        self.client = MlflowClient(tracking_uri=uri)
        experiment = self.client.get_experiment_by_name(study)
        assert experiment is not None
        runs = self.client.search_runs([experiment.experiment_id])
        kinds = [r.data.tags["archprior.kind"] for r in runs]
        of = {kind: [r for r, k in zip(runs, kinds, strict=True) if k == kind] for kind in RunKind}
        self.parents = of[RunKind.study]
        self.children = {r.data.tags["archprior.replicate_id"]: r for r in of[RunKind.replicate]}
        self.conditions = {r.data.tags["archprior.condition_id"]: r for r in of[RunKind.condition]}
        assert len(runs) == len(self.parents) + len(self.children) + len(self.conditions)

    def points(self, run: Run) -> Points:
        return Counter(
            (point.step, point.timestamp, name, point.value)
            for name in run.data.metrics
            for point in self.client.get_metric_history(run.info.run_id, name)
        )

    def artifacts(self, run: Run) -> set[str]:
        return {entry.path for entry in self.client.list_artifacts(run.info.run_id)}


def history(store: Path, replicate: Replicate) -> pd.DataFrame:
    return pd.read_parquet(store / "replicates" / replicate.id / "history.parquet")


def stored_points(store: Path, replicate: Replicate) -> list[tuple[int, int, str, float]]:
    """The points of a stored history, in order."""
    frame = history(store, replicate)
    stamps = frame["timestamp"].astype("datetime64[ms, UTC]").astype("int64")
    return list(zip(frame["step"], stamps, frame["metric"], frame["value"], strict=True))


def expected(store: Path, replicate: Replicate) -> Points:
    """Every point of the stored history once, and two that sum it up."""
    points = stored_points(store, replicate)
    step, stamp = points[-1][:2]
    result = Store(store).replicate(replicate.id).result()
    assert result is not None
    points += [(step, stamp, "train_seconds", result.train_seconds)]
    points += [(step, stamp, "steps", float(result.steps))]
    return Counter(points)


def finished(trained: Any) -> list[Replicate]:
    """The replicates that were trained for all tests."""
    store = Store(trained.folder)
    return [r for r in trained.plan.replicates if store.replicate(r.id).result() is not None]


def failed_guide(trained: Any) -> Replicate:
    return next(r for r in trained.plan.replicates if r.condition.role == "guide" and r.seed == 1)


def baselines(trained: Any) -> list[Replicate]:
    """Replicates that have a checkpoint on the way."""
    return [r for r in trained.plan.replicates if r.condition.role == "baseline"]


def check_complete(trained: Any, store: Path, tracked: Tracked) -> None:
    replicates = finished(trained)
    # Guide, baseline, untrained and its shuffle at two seeds; what the trained guide guides at
    # one; but the guide of seed 1.
    assert len(replicates) == 2 * 4 - 1 + 2
    for replicate in replicates:
        run = tracked.children[replicate.id]
        assert tracked.points(run) == expected(store, replicate)
        assert run.info.status == "FINISHED"
    check_conditions(trained, tracked)


def check_conditions(trained: Any, tracked: Tracked) -> None:
    """Every replicate is below the one run of its condition, which has each point once."""
    (parent,) = tracked.parents
    for replicate in trained.plan.replicates:
        run = tracked.children.get(replicate.id)
        if run is None:
            continue
        above = tracked.conditions[condition_id(replicate.condition)]
        assert run.data.tags["mlflow.parentRunId"] == above.info.run_id
        assert above.data.tags["mlflow.parentRunId"] == parent.info.run_id
    for run in tracked.conditions.values():
        steps = Counter((name, step) for step, _, name, _ in tracked.points(run).elements())
        assert set(steps.values()) <= {1}


def train(store: Path, replicates: Iterable[Replicate], report: Report = silent) -> None:
    """Train into a store."""
    run_trial(
        [(r.condition, r.seed) for r in replicates], TrialContext(store=str(store), report=report)
    )


def train_half(store: Path, replicate: Replicate, report: Report = silent) -> None:
    """Train a replicate to its first checkpoint."""
    # It is asked before a replicate begins, and at each report.
    asked = itertools.count()
    setting = TrialContext(store=str(store), report=report, stop=lambda: next(asked) > 0)
    with pytest.raises(StopRequestedError):
        run_trial([(replicate.condition, replicate.seed)], setting)


def states(trained: Any, store: Path) -> Progress:
    return Progress(trained.plan, Store(store))
