"""A study's runs in MLflow: one experiment, one parent run, one child run a replicate.

Every call here speaks to MLflow and may fail; `study.tracking.tracker` handles failures.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from analysis import artifacts
from analysis.contract import Role
from analysis.database import ARTIFACTS, location
from analysis.metric_names import escaped
from study.plan.replicates import Replicate
from trainers.conditions.condition import Rival
from trainers.conditions.guidance import Term
from trainers.conditions.registries import RIVALS
from trainers.store.folder import Folder
from trainers.store.tables import Point

#: Longest value, in characters, that every version and database of MLflow takes.
_LONGEST_VALUE = 5000
_LONGEST_RUN_NAME = 250
#: Kinds of the runs of replicates: those of the tables, and those of a search.
_KINDS = ("replicate", "candidate")


class StudyRuns:
    """The runs of the study `name` in MLflow, found or created; `place` is that of artifacts."""

    def __init__(
        self, client: MlflowClient, name: str, place: str | None, *, metrics_per_call: int = 1000
    ) -> None:
        self._client, self._name, self._place = client, name, place
        self._metrics_per_call = metrics_per_call
        self._runs: dict[str, Run] = {}
        #: Number of points that a replicate's run holds, and the last of them; by replicate id.
        self._held: dict[str, tuple[int, Point]] = {}
        self._opened: set[str] = set()

    def open(self, facts: Mapping[str, str], files: Mapping[str, bytes]) -> None:
        """Create or find experiment, parent and children; log the study's facts and files.

        To be called again after any failure: MLflow then tells what it holds.
        """
        experiment = self._client.get_experiment_by_name(self._name)
        self._experiment = (
            self._client.create_experiment(self._name, self._place)
            if experiment is None
            else experiment.experiment_id
        )
        if experiment is not None and experiment.lifecycle_stage != "active":
            self._client.restore_experiment(self._experiment)
        parent = next(self._search("tags.`archprior.kind` = 'study'"), None)
        if parent is None:
            tags = {"archprior.kind": "study", "mlflow.runName": self._name}
            parent = self._client.create_run(self._experiment, tags=tags)
        self.parent_id: str = parent.info.run_id
        self._client.log_batch(self.parent_id, tags=_tags(facts))
        self._client.update_run(self.parent_id, status="RUNNING")
        self.log_files(self.parent_id, files)
        self._find()

    def _find(self) -> None:
        """Look up all child runs; the newest counts where a replicate has several."""
        runs = [run for kind in _KINDS for run in self._search(f"tags.`archprior.kind` = '{kind}'")]
        newest = sorted(runs, key=lambda run: run.info.start_time)
        self._runs = {run.data.tags["archprior.replicate_id"]: run for run in newest}
        self._held, self._opened = {}, set()

    def ids(self) -> dict[str, str]:
        """Run ids by replicate id."""
        return {identifier: run.info.run_id for identifier, run in self._runs.items()}

    def has_end(self, replicate_id: str, status: str, end_time: int | None) -> bool:
        """Whether a run had this status and end when it was found; `end_time` None: any end."""
        run = self._runs.get(replicate_id)
        if run is None or run.data.tags.get("archprior.status") != status:
            return False
        return end_time is None or end_time == run.info.end_time

    def log_points(
        self, replicate: Replicate, points: Sequence[Point], start: int | None = None
    ) -> str:
        """Log the points that a replicate's run lacks; returns the run's id.

        `points` are all points of the replicate in the order of measurement, and are sent in that
        order, so MLflow always holds the first ones. A run that holds others is of a training that
        the store does not know, and is replaced. Points without a value are not sent.

        A new run starts at `start`, in milliseconds since 1970, by default now: MLflow cannot
        change that later.
        """
        held = self._num_held(replicate.id, points)
        if held is None:
            self._client.delete_run(self._runs.pop(replicate.id).info.run_id)
            self._held.pop(replicate.id, None)
        run_id = self._run_of(replicate, start)
        for at in range(held or 0, len(points), self._metrics_per_call):
            part = points[at : at + self._metrics_per_call]
            self._client.log_batch(run_id, metrics=_metrics(part))
        if points:
            self._held[replicate.id] = len(points), points[-1]
        return run_id

    def _num_held(self, replicate_id: str, points: Sequence[Point]) -> int | None:
        """Number of a replicate's points that its run holds; None where it holds others."""
        if replicate_id in self._held:
            count, last = self._held[replicate_id]
            # Not the value, which may be nan.
            same = len(points) >= count and points[count - 1][:3] == last[:3]
            return count if same else None
        run = self._runs.get(replicate_id)
        return 0 if run is None else _num_found(run, points)

    def log_files(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """Log files (name to content) as artifacts of a run."""
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                Path(folder, name).write_bytes(content)
            if files:
                artifacts.log(self._client, run_id, folder)

    def end(
        self,
        run_id: str,
        status: str,
        facts: Mapping[str, str] | None = None,
        end_time: int | None = None,
    ) -> None:
        """Mark a run as over, then set its tags, so that a reader of the tags finds all there.

        `end_time` is in milliseconds since 1970, by default now.
        """
        self._client.set_terminated(run_id, status, end_time=end_time)
        if facts:
            self._client.log_batch(run_id, tags=_tags(facts))

    def _run_of(self, replicate: Replicate, start: int | None) -> str:
        run = self._runs.get(replicate.id)
        if run is None:
            run = self._runs[replicate.id] = self._create(replicate, start)
        elif replicate.id not in self._opened:
            self._reopen(run, replicate)
        self._opened.add(replicate.id)
        return str(run.info.run_id)

    def _create(self, replicate: Replicate, start: int | None) -> Run:
        tags = {
            "archprior.kind": _kind(replicate),
            "archprior.replicate_id": replicate.id,
            "archprior.status": "running",
            "mlflow.parentRunId": self.parent_id,
        }
        run = self._client.create_run(
            self._experiment, start_time=start, tags=tags, run_name=run_name(replicate)
        )
        self._client.log_batch(run.info.run_id, params=params_of(replicate))
        return run

    def _reopen(self, run: Run, replicate: Replicate) -> None:
        run_id = run.info.run_id
        # The driver died, or an answer was lost, between its creation and its parameters.
        params = [] if run.data.params else params_of(replicate)
        facts = {"status": "running", "kind": _kind(replicate)}
        self._client.log_batch(run_id, params=params, tags=_tags(facts))
        self._client.update_run(run_id, status="RUNNING")
        if "archprior.error" in run.data.tags:
            self._client.delete_tag(run_id, "archprior.error")

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


def _kind(replicate: Replicate) -> str:
    return _KINDS[replicate.role == Role.candidate]


def artifact_location(tracking_uri: str, store: Folder, study: str) -> str | None:
    """Folder for a study's artifacts, beside the database; None lets a server decide."""
    if tracking_uri.startswith("http"):
        return None
    if store.is_local:
        return location(Path(store.uri), study)
    return (store / ARTIFACTS / study).uri


def _num_found(run: Run, points: Sequence[Point]) -> int | None:
    """Number of `points` that a run held when it was found; None where it held others.

    A found run has the last point of each metric. Metrics that none of the points has are a user's
    own.
    """
    lasts = {m.key: (m.step, m.timestamp) for m in run.data.to_proto().metrics}
    names = {metric: escaped(metric) for metric in {point.metric for point in points}}
    matched, count = set(), len(points)
    for index, point in enumerate(points):
        name, when = names[point.metric], (point.step, point.timestamp)
        if lasts.get(name) == when:
            matched.add(name)
        elif point.value is not None and when > lasts.get(name, (-1, -1)):
            count = min(count, index)
    others = (lasts.keys() & set(names.values())) - matched if points else lasts
    return None if others else count


def _metrics(points: Sequence[Point]) -> list[Metric]:
    return [
        Metric(escaped(p.metric), float(p.value), p.timestamp, p.step)
        for p in points
        if p.value is not None
    ]


def _tags(facts: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(f"archprior.{name}", _text(value)) for name, value in facts.items()]


def _text(value: str, longest: int = _LONGEST_VALUE) -> str:
    """A value that MLflow takes; one that is too long is cut off and ends in its digest.

    Databases refuse zero bytes and halves of characters, which names of files may hold.
    """
    text = value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    if len(text) <= longest:
        return text
    end = f"... (sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]})"
    return text[: longest - len(end)] + end


def params_of(replicate: Replicate) -> list[Param]:
    """Every field of the condition as flat parameters, without those that do not apply."""
    row = replicate.row()
    for name in ("guide_ids", "requires_ids", "required_controls"):
        row[name] = ", ".join(row[name] or ()) or None
    condition = replicate.condition
    settings = vars(condition.train)
    if condition.weights is not None:
        settings = {name: settings[name] for name in ("steps", "threads")}
    flat = row | {f"train.{k}": v for k, v in settings.items()}
    if replicate.planned.use.is_matched:
        flat["matched"] = True
    if condition.weights is not None:
        flat["weights"] = condition.weights.content
    for index, term in enumerate(condition.terms, 1):
        prefix = "" if len(condition.terms) == 1 else f"{index}."
        flat |= {prefix + name: value for name, value in _term_params(term).items()}
    if isinstance(condition.treatment, Rival):
        flat["rival"] = RIVALS.label(condition.treatment.method)
    return [Param(name, _text(str(value))) for name, value in flat.items() if value is not None]


def _term_params(term: Term) -> dict[str, Any]:
    flat: dict[str, Any] = {"reduction": term.reduction, "rows": term.rows}
    flat["batch_norm"] = term.guide.batch_norm
    if term.cache is not None:
        flat["cache"] = f"{term.cache.form}, {term.cache.dtype}"
    if term.guide.train is not None:
        flat |= {f"guide_train.{k}": v for k, v in vars(term.guide.train).items()}
    if term.guide.weights is not None:
        flat["weights"] = term.guide.weights.content
    return flat


def run_name(replicate: Replicate) -> str:
    """The name of a replicate's run: what trains, by what, at which seed."""
    labels: dict[str, Any] = replicate.planned.labels
    parts: Iterable[Any] = (labels[k] for k in ("target", "guide", "state", "control", "schedule"))
    words = [str(part) for part in parts if part not in (None, "none")]
    seed = "" if replicate.condition.weights is not None else f" #{replicate.seed}"
    return _text(f"{replicate.role} {' '.join(words)}{seed}", _LONGEST_RUN_NAME)
