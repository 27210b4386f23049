"""Synthetic studies with known numbers: as frames, and as MLflow runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.cells import TaskMetrics
from analysis.schema import conform, frame_of, schema, to_frame
from analysis.transfer import transfer_table

TASKS = {
    "toy": TaskMetrics(
        primary_metric="accuracy", higher_is_better={"loss": False, "accuracy": True}
    )
}
PLAN_SCHEMA = pa.schema(
    [
        ("replicate_id", pa.string()),
        ("role", pa.string()),
        ("seed", pa.int64()),
        *((name, pa.string()) for name in ("study", "task", "target", "guide", "state")),
        *((name, pa.string()) for name in ("control", "distance", "mapping", "schedule")),
        ("alpha", pa.float64()),
        ("stop_step", pa.int64()),
        ("num_pairs", pa.int64()),
        ("baseline_id", pa.string()),
        ("guide_id", pa.string()),
    ]
)
GUIDANCE = {
    "treatment": "guidance",
    "distance": "linear_cka",
    "mapping": "evenly_spaced",
    "schedule": "alpha=1",
    "alpha": 1.0,
    "num_pairs": 3,
}
_NAMING = ("guide", "state", "control", "distance", "schedule")
Outcome = float | str
"""A replicate's accuracy, or its status if it did not finish."""


@dataclass
class ToyStudy:
    """A study of one task, built condition by condition from outcomes by seed.

    `loss` is 1 - accuracy throughout, so what holds of one metric holds of the other.
    """

    study: str = "toy-study"
    plan: list[dict[str, Any]] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    history: list[tuple[str, int, str, float]] = field(default_factory=list)

    def add(self, role: str, outcomes: Mapping[int, Outcome], target: str, **columns: Any) -> None:
        parts = [role, target, *(str(columns[key]) for key in _NAMING if key in columns)]
        for seed, outcome in outcomes.items():
            replicate = "/".join([*parts, str(seed)])
            row = {"replicate_id": replicate, "role": role, "seed": seed, "study": self.study}
            self.plan.append({**row, "task": "toy", "target": target, **columns})
            self.outcomes[replicate] = outcome

    def guide(self, outcomes: Mapping[int, Outcome], name: str = "cnn") -> ToyStudy:
        self.add("guide", outcomes, name)
        return self

    def baseline(self, outcomes: Mapping[int, Outcome], target: str = "fcn") -> ToyStudy:
        self.add("baseline", outcomes, target)
        return self

    def guided(
        self, outcomes: Mapping[int, Outcome], state: str = "trained", **columns: Any
    ) -> ToyStudy:
        return self._with_guide("guided", outcomes, state=state, control="none", **columns)

    def control(
        self,
        control: str,
        outcomes: Mapping[int, Outcome],
        state: str | None = "trained",
        **columns: Any,
    ) -> ToyStudy:
        return self._with_guide("control", outcomes, state=state, control=control, **columns)

    def _with_guide(self, role: str, outcomes: Mapping[int, Outcome], **columns: Any) -> ToyStudy:
        target, guide = columns.pop("target", "fcn"), columns.pop("guide", "cnn")
        before = len(self.plan)
        self.add(role, outcomes, target, guide=guide, **{**GUIDANCE, **columns})
        for row in self.plan[before:]:
            row["baseline_id"] = f"baseline/{target}/{row['seed']}"
            row["guide_id"] = f"guide/{guide}/{row['seed']}"
        return self

    def replicates(self) -> pd.DataFrame:
        rows = []
        for row in self.plan:
            outcome = self.outcomes[row["replicate_id"]]
            values = (
                {"status": outcome}
                if isinstance(outcome, str)
                else {"status": "finished", "test_accuracy": outcome, "test_loss": 1 - outcome}
            )
            rows.append({**row, **values})
        return frame_of(rows, schema("replicates", ["accuracy", "loss"]))

    def history_rows(self) -> list[dict[str, Any]]:
        return [
            {
                "replicate_id": replicate,
                "step": step,
                "timestamp": pd.Timestamp("2030-01-01", tz="UTC"),
                "metric": metric,
                "value": value,
            }
            for replicate, step, metric, value in self.history
        ]

    def histories(self) -> pd.DataFrame:
        return frame_of(self.history_rows(), schema("history"))

    def plan_table(self, **metadata: Any) -> pa.Table:
        """The plan as the study's writer leaves it in MLflow."""
        tasks = {
            name: {
                "primary_metric": task.primary_metric,
                "higher_is_better": dict(task.higher_is_better),
            }
            for name, task in TASKS.items()
        }
        ours = {"schema_version": 1, "study": self.study, "tasks": tasks}
        ours |= {"provenance": {"git_commit": "abc123"}} | metadata
        table = pa.Table.from_pylist(self.plan, schema=PLAN_SCHEMA)
        return table.replace_schema_metadata({"archprior": json.dumps(ours)})


@pytest.fixture
def toy() -> Callable[[], ToyStudy]:
    return ToyStudy


@pytest.fixture
def tasks() -> dict[str, TaskMetrics]:
    return TASKS


def full_study() -> ToyStudy:
    """Two states, both controls, five seeds; seed 3 of trained failed, seed 4 of its control."""
    study = ToyStudy()
    study.guide({0: 0.90, 1: 0.92, 2: 0.91, 3: 0.93, 4: 0.90})
    study.baseline({0: 0.50, 1: 0.55, 2: 0.52, 3: 0.51, 4: 0.53})
    study.guided({0: 0.70, 1: 0.73, 2: 0.74, 3: "failed", 4: 0.71})
    study.guided({0: 0.60, 1: 0.66, 2: 0.61, 3: 0.63, 4: 0.62}, "untrained")
    study.control("shuffled", {0: 0.48, 1: 0.55, 2: 0.50, 3: 0.52, 4: "missing"})
    study.control("shuffled", {0: 0.47, 1: 0.5, 2: 0.52, 3: 0.5, 4: "blocked"}, "untrained")
    study.control("input", {0: 0.62, 1: 0.64, 2: 0.61, 3: 0.63, 4: 0.60}, None)
    for row in study.plan:
        if row["role"] in ("guided", "control"):
            name, bump = row["replicate_id"], 0.01 * row["seed"]
            study.history += [
                (name, 10, "train/distance", 0.8 + bump),
                (name, 10, "train/loss", 2.5),
                (name, 10, "train/task_loss", 1.5 + bump),
                (name, 20, "train/distance", 0.3 + bump),
                (name, 20, "train/loss", 2.0),
                (name, 20, "train/task_loss", 1.5 + bump),
            ]
    return study


@pytest.fixture
def full() -> ToyStudy:
    return full_study()


@dataclass(frozen=True)
class Tracked:
    """A store whose MLflow database holds `toy-study`, `empty`, and two that cannot be analysed."""

    store: Path
    uri: str
    full: ToyStudy
    empty: ToyStudy


@pytest.fixture
def transfer(tasks: dict[str, TaskMetrics]) -> Callable[[ToyStudy], pd.DataFrame]:
    """The transfer table of a study, of its own histories."""
    return lambda study: transfer_table(study.replicates(), study.histories(), tasks)


@pytest.fixture
def whole(toy: Callable[[], ToyStudy]) -> ToyStudy:
    """Five seeds that finished, in two states with all that `helps, guide-specific` needs."""

    def seeds(*values: float) -> dict[int, float]:
        return dict(enumerate(values))

    study = toy().guide(seeds(0.90, 0.92, 0.91, 0.93, 0.90))
    study.baseline(seeds(0.50, 0.55, 0.52, 0.51, 0.53))
    study.guided(seeds(0.70, 0.73, 0.74, 0.72, 0.71))
    study.guided(seeds(0.60, 0.66, 0.61, 0.63, 0.62), "untrained")
    study.control("shuffled", seeds(0.48, 0.55, 0.50, 0.52, 0.51))
    study.control("shuffled", seeds(0.47, 0.50, 0.52, 0.50, 0.51), "untrained")
    study.control("input", seeds(0.62, 0.64, 0.61, 0.63, 0.60), None)
    study.control("labels", seeds(0.65, 0.66, 0.67, 0.66, 0.64), None, num_pairs=1)
    return study


@pytest.fixture(scope="session")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    from mlflow import MlflowClient

    store = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{store}/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    full, empty = full_study(), ToyStudy(study="empty")
    empty.guide({0: "missing"}).baseline({0: "failed"}).guided({0: "blocked", 1: "missing"})
    for study in (full, empty):
        location = (store / "mlflow-artifacts" / study.study).as_uri()
        _track(client, client.create_experiment(study.study, location), study, store / "scratch")
    client.create_experiment("bare", (store / "mlflow-artifacts" / "bare").as_uri())
    planless = client.create_experiment("planless", (store / "mlflow-artifacts" / "none").as_uri())
    client.create_run(planless, tags={"archprior.kind": "study"})
    return Tracked(store, uri, full, empty)


def _track(client: Any, experiment: str, study: ToyStudy, scratch: Path) -> None:
    client.create_run(experiment, start_time=1, tags={"archprior.kind": "study"})
    parent = client.create_run(experiment, tags={"archprior.kind": "study"}).info.run_id
    folder = scratch / study.study
    folder.mkdir(parents=True)
    pq.write_table(study.plan_table(), folder / "plan.parquet")
    client.log_artifact(parent, str(folder / "plan.parquet"))
    for index, row in enumerate(study.plan):
        outcome = study.outcomes[row["replicate_id"]]
        if outcome != "missing":
            _track_replicate(client, experiment, parent, row, outcome, folder / str(index), study)
    running = next((row for row in study.plan if row["role"] == "control"), study.plan[0])
    stale = {"archprior.status": "running", "archprior.replicate_id": running["replicate_id"]}
    client.create_run(experiment, tags={"archprior.kind": "replicate", **stale})
    unused = {"archprior.status": "finished", "archprior.replicate_id": "of an older plan"}
    client.create_run(experiment, tags={"archprior.kind": "replicate", **unused})


def _track_replicate(
    client: Any,
    experiment: str,
    parent: str,
    row: dict[str, Any],
    outcome: Outcome,
    folder: Path,
    study: ToyStudy,
) -> None:
    from mlflow.entities import Metric

    finished = not isinstance(outcome, str)
    tags = {
        "archprior.kind": "replicate",
        "archprior.status": "finished" if finished else outcome,
        "archprior.replicate_id": row["replicate_id"],
        "archprior.torch_version": "2.13.0",
        "archprior.device": "cpu",
        "mlflow.parentRunId": parent,
    }
    if outcome == "failed":
        tags["archprior.error"] = "loss is nan"
    run = client.create_run(experiment, tags=tags).info.run_id
    if finished:
        values = {"test/accuracy": outcome, "test/loss": 1 - outcome}
        values |= {"train_seconds": 1.5, "steps": 20.0}
        client.log_batch(run, [Metric(key, value, 0, 20) for key, value in values.items()])
    folder.mkdir()
    for name, table in _artifacts(row, finished, study).items():
        pq.write_table(table, folder / f"{name}.parquet")
    client.log_artifacts(run, str(folder))


def _artifacts(row: dict[str, Any], finished: bool, study: ToyStudy) -> dict[str, pa.Table]:
    replicate = row["replicate_id"]
    rows = [entry for entry in study.history_rows() if entry["replicate_id"] == replicate]
    found = {"history": pa.Table.from_pylist(rows, schema=schema("history"))}
    if not finished:
        return found
    predictions = [
        {"replicate_id": replicate, "example": k, "position": 0, "label": k, "prediction": k % 2}
        for k in range(3)
    ]
    found["predictions"] = pa.Table.from_pylist(predictions, schema=schema("predictions"))
    if row["role"] in ("guided", "control"):
        pair = {"replicate_id": replicate, "guide_tap": "conv", "target_tap": "dense", "n": 64}
        pair |= {"measure": "linear_cka", "rows": "examples", "target_collapsed": False}
        rows = [{**pair, "moment": when, "similarity": 0.5} for when in ("initial", "final")]
        found["alignment"] = pa.Table.from_pylist(rows, schema=schema("alignment"))
    return found


@pytest.fixture
def predictions_of():
    """Makes the table from replicate id to correctness, (examples,) or (examples, positions).

    Labels are 0; a right answer is 0, a wrong one is `wrong` (1 by default, an array elsewhere).
    `clusters` has one for each example; by default each is its own.
    """

    def make(correct, wrong=1, clusters=None):
        parts = []
        for name, right in correct.items():
            flat = np.asarray(right).reshape(len(right), -1)
            example, position = np.indices(flat.shape)
            answer = wrong[name].reshape(flat.shape) if isinstance(wrong, dict) else wrong
            chosen = np.where(flat, 0, answer)
            parts.append(
                pd.DataFrame(
                    {
                        "replicate_id": name,
                        "example": example.ravel(),
                        "position": position.ravel(),
                        "label": 0,
                        "prediction": chosen.ravel(),
                        "cluster": example.ravel()
                        if clusters is None
                        else np.asarray(clusters)[example.ravel()],
                    }
                )
            )
        if not parts:
            return to_frame(schema("predictions").empty_table())
        table = pa.Table.from_pandas(pd.concat(parts), preserve_index=False)
        return to_frame(conform(table, schema("predictions")))

    return make
