"""What a study must come to whatever disturbed it: a quiet run's tables, and MLflow complete."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Mapping

import pandas as pd
from mlflow import MlflowClient

from trainers.store.folder import Folder
from trainers.store.store import Store

TABLES = (
    "replicates", "history", "predictions", "alignment", "transfer", "pairs", "priors",
    "consistency", "guide_similarity", "predictors", "trainability",
)  # fmt: skip
#: What two runs of one study may differ in.
VARYING = ["timestamp", "train_seconds", "run_id"]


def tables(store: str | os.PathLike[str], study: str) -> dict[str, pd.DataFrame]:
    """A study's tables in a store, without times and run ids, in an order of their own."""
    folder = Folder(store) / "studies" / study
    found = {}
    for name in TABLES:
        frame = _parquet(folder, f"{name}.parquet").drop(columns=VARYING, errors="ignore")
        found[name] = frame.sort_values(list(frame.columns)).reset_index(drop=True)
    return found


def check_tables(found: Mapping[str, pd.DataFrame], wanted: Mapping[str, pd.DataFrame]) -> None:
    """The tables are those that are wanted, to the last bit."""
    for name, frame in wanted.items():
        pd.testing.assert_frame_equal(found[name], frame, check_exact=True, obj=name)


def check_points(store: str | os.PathLike[str], uri: str, study: str) -> None:
    """MLflow holds each replicate of the store once, with every point of its history once.

    Each is below the one run of its condition, which has each of its own points once.
    """
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if run.data.tags["archprior.kind"] == "replicate"]
    identifiers = [run.data.tags["archprior.replicate_id"] for run in children]
    assert len(set(identifiers)) == len(identifiers)
    conditions = [run for run in runs if run.data.tags["archprior.kind"] == "condition"]
    above = [run.data.tags["archprior.condition_id"] for run in conditions]
    assert len(set(above)) == len(above)
    parents = {run.data.tags["mlflow.parentRunId"] for run in children}
    assert parents == {run.info.run_id for run in conditions}
    for run in conditions:
        for name in run.data.metrics:
            points = client.get_metric_history(run.info.run_id, name)
            assert len({point.step for point in points}) == len(points)
    for identifier, run in zip(identifiers, children, strict=True):
        replicate = Store(store).replicate(identifier)
        result = replicate.result()
        if result is None:
            continue
        held = Counter(
            (point.step, point.timestamp, name, point.value)
            for name in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, name)
            if name not in ("train_seconds", "steps")
        )
        frame = _parquet(replicate.folder, "history.parquet")
        stamps = frame["timestamp"].astype("datetime64[ms, UTC]").astype("int64")
        points = zip(frame["step"], stamps, frame["metric"], frame["value"], strict=True)
        assert held == Counter(points)
        assert run.info.status == "FINISHED"
        assert run.data.metrics["steps"] == result.steps


def _parquet(folder: Folder, name: str) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(folder.read(name)))
