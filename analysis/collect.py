"""From MLflow to tidy tables: what was planned, what became of it, what it measured."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from analysis.artifacts import Artifacts, Home
from analysis.cells import TaskMetrics
from analysis.errors import UserError, unknown
from analysis.files import metadata_of
from analysis.metric_names import escaped, unescaped
from analysis.schema import METRIC_PREFIX, conform, frame_of, schema, to_frame

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

RUNS_PER_PAGE = 1000
PLAN = "plan.parquet"
#: Of the study's run: comparisons of baselines and guided targets with the guides.
ALIGNMENTS = "alignments.parquet"

_LARGEST = sys.float_info.max


@dataclass(frozen=True, kw_only=True)
class Collected:
    """A study as MLflow holds it: its plan's metadata and the four tables without statistics.

    `uses` has a row for each place of a replicate among the conditions, `replicates` the first.
    """

    parent_run_id: str
    tasks: Mapping[str, TaskMetrics]
    provenance: Mapping[str, str]
    uses: pd.DataFrame
    replicates: pd.DataFrame
    history: pd.DataFrame
    predictions: pd.DataFrame
    alignment: pd.DataFrame


def collect(study: str, client: MlflowClient, home: Home | None = None) -> Collected:
    """Read a study's runs and their artifacts, which are looked for in `home` too.

    Raises ValueError when there is no such study or it has no plan, when the plan was written by a
    newer archprior, and when a run has a test metric whose direction the plan does not know.
    """
    runs = _all_runs(study, client)
    parents = [run for run in runs if run.data.tags.get("archprior.kind") == "study"]
    if not parents:
        raise UserError(f"experiment {study!r} has no run of a study: run the study first")
    parent = max(parents, key=lambda run: run.info.start_time)
    artifacts = Artifacts(client, home)
    plan = artifacts.table(parent, PLAN)
    if plan is None:
        raise UserError(f"run {parent.info.run_id} of study {study!r} has no {PLAN}")
    metadata = metadata_of(plan, f"{PLAN} of study {study!r}")
    tasks = {
        name: TaskMetrics(headline=entry["headline"], higher_is_better=entry["higher_is_better"])
        for name, entry in metadata["tasks"].items()
    }
    planned = plan.to_pylist()
    used = _newest_runs(runs, [row["replicate_id"] for row in planned])
    _check_metrics(used.values(), tasks)
    uses = _replicates(planned, used, tasks)
    ended = [run for run in used.values() if _status(run) in ("finished", "failed")]
    tables = {name: to_frame(table) for name, table in artifacts.tables(ended).items()}
    compared = artifacts.table(parent, ALIGNMENTS)
    tables["alignment"] = _alignment(tables["alignment"], planned, compared)
    return Collected(
        parent_run_id=parent.info.run_id,
        tasks=tasks,
        provenance=metadata.get("provenance", {}) | _fingerprints(planned, used),
        uses=uses,
        replicates=uses.drop_duplicates("replicate_id", ignore_index=True),
        **tables,
    )


def _fingerprints(planned: Iterable[Mapping[str, Any]], runs: Mapping[str, Run]) -> dict[str, str]:
    """By task, the fingerprints of the data that its replicates were trained on."""
    found: dict[str, set[str]] = {}
    for row in planned:
        run = runs.get(row["replicate_id"])
        fingerprint = None if run is None else run.data.tags.get("archprior.data_fingerprint")
        if fingerprint is not None:
            found.setdefault(f"data_fingerprint {row['task']}", set()).add(fingerprint)
    return {name: ", ".join(sorted(values)) for name, values in found.items()}


def _all_runs(study: str, client: MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name(study)
    if experiment is None or experiment.lifecycle_stage != "active":
        names = [known.name for known in client.search_experiments()]
        raise unknown("study in MLflow:", study, (name for name in names if name != "Default"))
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment.experiment_id], max_results=RUNS_PER_PAGE, page_token=token
        )
        runs += page
        token = page.token
        if not token:
            return runs


def _status(run: Run | None) -> str:
    status = "missing" if run is None else run.data.tags.get("archprior.status")
    return status if status in ("finished", "failed", "blocked") else "missing"


def _newest_runs(runs: Iterable[Run], used: Sequence[str]) -> dict[str, Run]:
    """The run of each replicate that has one, in the order of `used`.

    Of several it is the newest finished one, else the newest.
    """
    found: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: (_status(run) == "finished", run.info.start_time)):
        replicate = run.data.tags.get("archprior.replicate_id")
        if replicate is not None and run.data.tags.get("archprior.kind") == "replicate":
            found[replicate] = run
    return {replicate: found[replicate] for replicate in used if replicate in found}


def _test_metrics(run: Run, known: Iterable[str] = ()) -> dict[str, float]:
    """Its final test values by bare name; MLflow keeps an infinity as the largest float.

    A name that was too long for MLflow is read where it is among the `known` ones.
    """
    names = {escaped(f"test/{name}"): name for name in known}
    return {
        names.get(name) or unescaped(name).removeprefix("test/"): value
        for name, value in run.data.metrics.items()
        if name.startswith("test/") and math.isfinite(value) and abs(value) < _LARGEST
    }


def _check_metrics(runs: Iterable[Run], tasks: Mapping[str, TaskMetrics]) -> None:
    known = set(_metric_names(tasks))
    for run in runs:
        for name in _test_metrics(run, known):
            if name not in known:
                raise unknown(
                    f"test metric in run {run.info.run_id}, not in the plan:", name, known
                )


def _metric_names(tasks: Mapping[str, TaskMetrics]) -> list[str]:
    return list(dict.fromkeys(name for entry in tasks.values() for name in entry.names))


def _replicates(
    planned: Sequence[Mapping[str, Any]],
    runs: Mapping[str, Run],
    tasks: Mapping[str, TaskMetrics],
) -> pd.DataFrame:
    metrics = _metric_names(tasks)
    rows = [{**row, **_outcome(runs.get(row["replicate_id"]), metrics)} for row in planned]
    return frame_of(rows, schema("replicates", metrics))


def _outcome(run: Run | None, known: Iterable[str] = ()) -> dict[str, object]:
    """The columns of a replicate that its run knows."""
    status = _status(run)
    if run is None:
        return {"status": status}
    tags, metrics = run.data.tags, run.data.metrics
    outcome: dict[str, object] = {
        "status": status,
        "error": tags.get("archprior.error"),
        "train_seconds": metrics.get("train_seconds"),
        "steps": int(metrics["steps"]) if "steps" in metrics else None,
        "torch_version": tags.get("archprior.torch_version"),
        "device": tags.get("archprior.device"),
        "run_id": run.info.run_id,
    }
    if status == "finished":
        measured = _test_metrics(run, known)
        outcome |= {METRIC_PREFIX + name: value for name, value in measured.items()}
    return outcome


def _alignment(
    own: pd.DataFrame, planned: Sequence[Mapping[str, Any]], compared: pa.Table | None
) -> pd.DataFrame:
    """What replicates measured of their guides, and what was compared after training."""
    import pandas as pd

    moments = {"trained": "final", "untrained": "initial"}
    guided = {row["replicate_id"]: row for row in planned if row["state"] is not None}
    columns: dict[str, dict[str, Any]] = {
        "guide_id": {name: _guide_of(row) for name, row in guided.items()},
        "guide_moment": {name: moments[row["state"]] for name, row in guided.items()},
    }
    for name, values in columns.items():
        own[name] = [values.get(replicate) for replicate in own["replicate_id"]]
    if compared is None:
        return own
    other = to_frame(conform(compared, schema("alignment")))
    other = other[other["replicate_id"].isin({row["replicate_id"] for row in planned})]
    return pd.concat([own, other], ignore_index=True)


def _guide_of(row: Mapping[str, Any]) -> str | None:
    """The replicate that guided: for `self` not the guide that the row is compared with."""
    guide: str | None = row.get("requires_id" if row["control"] == "self" else "guide_id")
    return guide
