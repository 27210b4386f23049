"""MLflow: a projection of the store, written by the driver alone.

One experiment a study; one parent run; one child run for every replicate the study uses. What a
replicate reports is logged as it comes; whatever MLflow missed is filled in from the store, whose
history keeps the timestamps, so that no point enters twice.
"""

from __future__ import annotations

import io
import queue
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from study.labels import CONDITION_COLUMNS
from study.plan import Plan, Replicate
from study.progress import Progress, State
from trainers.records import History, Point
from trainers.store import ARTIFACTS
from trainers.store import Replicate as StoredReplicate

_PLAN_SCHEMA_VERSION = 1
_METRICS_PER_CALL = 1000
_FLUSH_SECONDS = 2.0
_RUN_STATUS = {"finished": "FINISHED", "failed": "FAILED", "blocked": "KILLED"}

PLAN_SCHEMA = pa.schema(
    [("replicate_id", pa.string()), ("role", pa.string()), ("seed", pa.int64())]
    + [(name, pa.string()) for name in CONDITION_COLUMNS if name not in ("alpha", "stop_step")]
    + [("alpha", pa.float64()), ("stop_step", pa.int64()), ("num_pairs", pa.int64())]
    + [("baseline_id", pa.string()), ("guide_id", pa.string())]
)


class Tracker:
    """Writes a study into MLflow: live from a thread, and from the store at the end."""

    def __init__(self, progress: Progress, tracking_uri: str, facts: Mapping[str, str]) -> None:
        self._progress, self._facts = progress, dict(facts)
        self._tracking_uri = tracking_uri
        self._client = MlflowClient(tracking_uri=tracking_uri)
        self._by_id = {replicate.id: replicate for replicate in progress.plan.replicates}
        self._runs: dict[str, str] = {}
        self._logged: dict[str, int] = {}
        self._behind: set[str] = set()
        self._complete: set[str] = set()
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def start(self, spec: Mapping[str, Any]) -> None:
        """Create or find the experiment, the parent run and the runs of an earlier start."""
        plan = self._progress.plan
        experiment = self._client.get_experiment_by_name(plan.name)
        self._experiment = (
            self._client.create_experiment(plan.name, self._artifact_location())
            if experiment is None
            else experiment.experiment_id
        )
        parents = self._search("tags.`archprior.kind` = 'study'")
        parent = next(parents, None)
        if parent is None:
            tags = {"archprior.kind": "study", "mlflow.runName": plan.name}
            parent = self._client.create_run(self._experiment, tags=tags)
        self.parent_id: str = parent.info.run_id
        facts = [RunTag(f"archprior.{name}", value) for name, value in self._facts.items()]
        self._client.log_batch(self.parent_id, tags=facts)
        self._log_files(
            self.parent_id,
            {
                "spec.yaml": yaml.safe_dump(dict(spec), sort_keys=False).encode(),
                "plan.parquet": plan_table(plan, self._facts),
            },
        )
        for run in self._search("tags.`archprior.kind` = 'replicate'"):
            identifier = run.data.tags["archprior.replicate_id"]
            self._runs[identifier] = run.info.run_id
            if run.data.tags.get("archprior.status") == "finished":
                self._complete.add(identifier)
        self._thread = threading.Thread(target=self._write_live, name="mlflow", daemon=True)
        self._thread.start()

    def _artifact_location(self) -> str | None:
        """Beside the data base; MLflow's own default is the current folder. A server knows best."""
        if self._tracking_uri.startswith("http"):
            return None
        root = self._progress.store.root / "mlflow-artifacts" / self._progress.plan.name
        return Path(root.uri).as_uri() if root.is_local else root.uri

    def log(self, payload: dict[str, Any]) -> None:
        """Log a report of `trainers.train` soon; returns at once."""
        self._queue.put(payload)

    def ended(self, replicate_id: str) -> None:
        """Complete the run of a replicate that has ended, soon; returns at once."""
        self._queue.put({"replicate_id": replicate_id, "ended": True})

    def close(self) -> None:
        """Write what is still queued, then fill in from the store all that MLflow lacks."""
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join()
        for replicate in self._progress.plan.replicates:
            self.settle(replicate.id)
        failed = any(s.status != "finished" for s in self._progress.states.values())
        self._client.set_terminated(self.parent_id, "FAILED" if failed else "FINISHED")

    def settle(self, replicate_id: str) -> None:
        """Bring the run of a replicate that has ended to what the store holds of it."""
        state = self._progress.states[replicate_id]
        if replicate_id in self._complete or state.status not in _RUN_STATUS:
            return
        run_id = self._run(self._by_id[replicate_id])
        stored = self._progress.store.replicate(replicate_id)
        end = None
        if state.result is not None:
            end = self._fill(run_id, stored, state.result)
        tags = _ending_tags(state, self._facts)
        self._client.log_batch(run_id, tags=tags)
        self._client.set_terminated(run_id, _RUN_STATUS[state.status], end_time=end)
        if state.status == "finished":
            self._complete.add(replicate_id)

    def _fill(self, run_id: str, stored: StoredReplicate, result: Mapping[str, Any]) -> int:
        """Log what MLflow lacks of a finished replicate; returns its last timestamp."""
        names = [name for name in ARTIFACTS if name in result["files"]]
        files = {name: stored.read(name) for name in names}
        history = History.from_parquet(stored.id, files["history.parquet"])
        known = self._known_step(stored.id, run_id)
        # The last known step again: of a report that came in two calls, one may be missing.
        points = [point for point in history.points if point.step >= known]
        last = history.points[-1]
        points.append(Point(last.step, last.timestamp, "train_seconds", result["train_seconds"]))
        points.append(Point(last.step, last.timestamp, "steps", result["steps"]))
        self._log_points(run_id, points)
        self._log_files(run_id, files)
        return last.timestamp

    def _known_step(self, replicate_id: str, run_id: str) -> int:
        if replicate_id in self._logged:
            return self._logged[replicate_id]
        history = self._client.get_metric_history(run_id, "train/loss")
        return max((point.step for point in history), default=-1)

    def _write_live(self) -> None:
        open_ = True
        while open_:
            payloads = [self._queue.get()]
            time.sleep(_FLUSH_SECONDS if payloads[0] is not None else 0.0)
            while not self._queue.empty():
                payloads.append(self._queue.get())
            open_ = None not in payloads
            reports = [payload for payload in payloads if payload is not None]
            grouped: dict[str, list[Point]] = {}
            for payload in reports:
                grouped.setdefault(payload["replicate_id"], []).extend(_points(payload))
            ended = {payload["replicate_id"] for payload in reports if "ended" in payload}
            for identifier, points in grouped.items():
                self._write(identifier, points, ended=identifier in ended)

    def _write(self, replicate_id: str, points: list[Point], *, ended: bool) -> None:
        if replicate_id in self._behind and not ended:
            return
        try:
            if ended:
                self.settle(replicate_id)
                return
            run_id = self._run(self._by_id[replicate_id])
            if replicate_id not in self._logged:
                self._logged[replicate_id] = self._known_step(replicate_id, run_id)
            fresh = [p for p in points if p.step > self._logged[replicate_id]]
            self._log_points(run_id, fresh)
        except MlflowException:
            # The store has it, and `settle` fills in from what arrived last: nothing may be logged
            # after the gap before that.
            self._behind.add(replicate_id)
            return
        steps = [p.step for p in fresh]
        self._logged[replicate_id] = max([self._logged[replicate_id], *steps])

    def _run(self, replicate: Replicate) -> str:
        run_id = self._runs.get(replicate.id)
        if run_id is None:
            run = self._client.create_run(
                self._experiment, tags=_tags(replicate, self.parent_id), run_name=_name(replicate)
            )
            run_id = self._runs[replicate.id] = run.info.run_id
            self._client.log_batch(run_id, params=_params(replicate))
        return run_id

    def _log_points(self, run_id: str, points: list[Point]) -> None:
        for at in range(0, len(points), _METRICS_PER_CALL):
            part = points[at : at + _METRICS_PER_CALL]
            metrics = [Metric(p.metric, p.value, p.timestamp, p.step) for p in part]
            self._client.log_batch(run_id, metrics=metrics)

    def _log_files(self, run_id: str, files: Mapping[str, bytes]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                Path(folder, name).write_bytes(content)
            self._client.log_artifacts(run_id, folder)

    def _search(self, filter_string: str) -> Iterator[Run]:
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment], filter_string, max_results=1000, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return


def plan_table(plan: Plan, facts: Mapping[str, str]) -> bytes:
    """The plan as Parquet, a row a replicate; what `analysis` reads first."""
    import json

    content = {
        "schema_version": _PLAN_SCHEMA_VERSION,
        "study": plan.name,
        "tasks": plan.tasks(),
        "provenance": dict(facts),
    }
    schema = PLAN_SCHEMA.with_metadata({"archprior": json.dumps(content)})
    table = pa.Table.from_pylist([r.row() for r in plan.replicates], schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _points(payload: Mapping[str, Any]) -> list[Point]:
    if "metrics" not in payload:
        return []
    step, timestamp = payload["step"], payload["timestamp"]
    return [Point(step, timestamp, name, value) for name, value in payload["metrics"].items()]


def _tags(replicate: Replicate, parent_id: str) -> dict[str, str]:
    return {
        "archprior.kind": "replicate",
        "archprior.replicate_id": replicate.id,
        "archprior.status": "running",
        "mlflow.parentRunId": parent_id,
    }


def _ending_tags(state: State, facts: Mapping[str, str]) -> list[RunTag]:
    tags = {"status": state.status}
    if state.error is not None:
        tags["error"] = state.error[:5000]
    if state.result is not None:
        tags |= {key: str(state.result[key]) for key in ("torch_version", "device", "host")}
    if "git_commit" in facts:
        tags["git_commit"] = facts["git_commit"]
    return [RunTag(f"archprior.{name}", value) for name, value in tags.items()]


def _params(replicate: Replicate) -> list[Param]:
    """Every field of the condition, flat; what does not apply is left out."""
    row = replicate.row()
    condition = replicate.condition
    flat = row | {f"train.{k}": v for k, v in vars(condition.train).items()}
    guidance = condition.guidance
    if guidance is not None:
        flat |= {"reduction": guidance.reduction, "rows": guidance.rows}
        flat["batch_norm"] = guidance.guide.batch_norm
        if guidance.guide.train is not None:
            flat |= {f"guide_train.{k}": v for k, v in vars(guidance.guide.train).items()}
    return [Param(name, str(value)) for name, value in flat.items() if value is not None]


def _name(replicate: Replicate) -> str:
    labels: dict[str, Any] = replicate.planned.labels
    parts: Iterable[Any] = (labels[k] for k in ("target", "guide", "state", "control", "schedule"))
    shown = [str(part) for part in parts if part not in (None, "none")]
    role = replicate.condition.role
    return f"{role} {' '.join(shown)} #{replicate.seed}"
