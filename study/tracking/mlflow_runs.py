"""A study's runs in MLflow: one experiment, its own run, runs of conditions and of replicates.

Every call here speaks to MLflow and may fail; `study.tracking.tracker` handles failures.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from analysis import artifacts
from analysis.contract import Role, RunKind
from analysis.database import ARTIFACTS_FOLDER, location
from analysis.from_mlflow import runs_in
from analysis.metric_names import escaped
from study.plan.replicates import Replicate
from study.tracking import batches
from study.tracking.data_sets import data_sets
from study.tracking.group_runs import KIND, PARENT, GroupRuns
from study.tracking.names import run_name
from study.tracking.params import params_of, tag_name, tags_of
from study.tracking.source import source_tags
from trainers.store.folder import Folder
from trainers.store.tables import Point

#: MLflow's page of an experiment is that of model training, not of language-model applications.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
_REPLICATE = "archprior.replicate_id"
#: Tag of the study's own run: digest of the content that MLflow has.
_SETTLED = "archprior.content"


class StudyRuns:
    """The runs of the study `name` in MLflow, found or created; `place` is that of artifacts.

    Artifacts in the bucket of `store` are written as all of a store's files are: outages are waited
    out.
    """

    #: Runs of conditions and searches, once they were looked for.
    groups: GroupRuns

    def __init__(
        self,
        client: MlflowClient,
        name: str,
        place: str | None,
        *,
        store: Folder | None = None,
        metrics_per_call: int = batches.METRICS_PER_CALL,
    ) -> None:
        self._client, self._name, self._place, self._store = client, name, place, store
        self._metrics_per_call = metrics_per_call
        self._source = source_tags(name)
        self._runs: dict[str, Run] = {}
        #: Number of points that a replicate's run holds, and the last of them; by replicate id.
        self._held: dict[str, tuple[int, Point]] = {}
        self._opened: set[str] = set()
        #: Runs above those of replicates, by replicate id; ids of runs without their parameters.
        self._parents: dict[str, str] = {}
        self._without_params: set[str] = set()
        #: Locations of artifacts by run id.
        self._places: dict[str, str] = {}

    def open(
        self, facts: Mapping[str, str], files: Mapping[str, bytes], start: int | None = None
    ) -> None:
        """Create or find experiment and runs; log the study's facts and files.

        A new run of the study begins at `start`, in ms since 1970. To be called again after any
        failure: MLflow then tells what it holds.
        """
        self._open_experiment()
        found: dict[str, list[Run]] = {kind.value: [] for kind in RunKind}
        for run in runs_in(self._experiment, self._client):
            # Others are a user's own.
            found.get(run.data.tags.get(KIND, ""), []).append(run)
        parent = max(found["study"], key=lambda run: run.info.start_time, default=None)
        if parent is None:
            tags = {KIND: RunKind.study.value, "mlflow.runName": self._name} | self._source
            tags |= {tag.key: tag.value for tag in tags_of(facts)}
            parent = self._client.create_run(self._experiment, start_time=start, tags=tags)
        else:
            self._client.log_batch(parent.info.run_id, tags=tags_of(facts))
            self._client.update_run(parent.info.run_id, status="RUNNING")
        self.parent_id: str = parent.info.run_id
        self._places[self.parent_id] = parent.info.artifact_uri
        self.log_files(self.parent_id, files)
        self._take(found["replicate"] + found["candidate"])
        self.groups = GroupRuns(
            self._client,
            self._experiment,
            self.parent_id,
            found["condition"] + found["search"],
            self._source,
        )

    def settled(self) -> tuple[str, str] | None:
        """Digests of the content that MLflow has, as the study's own run says; changes nothing.

        None where there is no such run, where it has not ended, and where it does not say.
        """
        experiment = self._client.get_experiment_by_name(self._name)
        if experiment is None or experiment.lifecycle_stage != "active":
            return None
        runs = self._client.search_runs(
            [experiment.experiment_id], f"tags.`{KIND}` = '{RunKind.study.value}'"
        )
        parent = max(runs, key=lambda run: run.info.start_time, default=None)
        if parent is None or parent.info.status not in ("FINISHED", "FAILED"):
            return None
        begin, _, end = parent.data.tags.get(_SETTLED, "").partition(" ")
        return (begin, end) if end else None

    def settle(self, begin: str, end: str) -> None:
        """Note in the study's own run which content MLflow has; the last thing that is written."""
        self._client.set_tag(self.parent_id, _SETTLED, f"{begin} {end}")

    def _open_experiment(self) -> None:
        experiment = self._client.get_experiment_by_name(self._name)
        if experiment is None:
            self._experiment = self._client.create_experiment(
                self._name, self._place, tags=dict(EXPERIMENT_TAGS)
            )
            return
        self._experiment = experiment.experiment_id
        if experiment.lifecycle_stage != "active":
            self._client.restore_experiment(self._experiment)
        for key, value in EXPERIMENT_TAGS.items():
            # A user may have chosen another.
            if key not in experiment.tags:
                self._client.set_experiment_tag(self._experiment, key, value)

    def _take(self, runs: list[Run]) -> None:
        """Note the runs of replicates; the newest counts where a replicate has several."""
        newest = sorted(runs, key=lambda run: run.info.start_time)
        self._runs = {run.data.tags[_REPLICATE]: run for run in newest}
        self._parents = {name: run.data.tags.get(PARENT, "") for name, run in self._runs.items()}
        self._without_params = {run.info.run_id for run in newest if not run.data.params}
        self._places |= {run.info.run_id: run.info.artifact_uri for run in newest}
        self._held, self._opened = {}, set()

    def ids(self) -> dict[str, str]:
        """Run ids by replicate id."""
        return {identifier: run.info.run_id for identifier, run in self._runs.items()}

    def begin_of(self, replicate_ids: Iterable[str]) -> int | None:
        """First begin of the runs of replicates, in ms since 1970; None where they have none."""
        runs = (self._runs[name] for name in replicate_ids if name in self._runs)
        return min((run.info.start_time for run in runs), default=None)

    def has_end(self, replicate_id: str, status: str, end_time: int | None) -> bool:
        """Whether a run had this status and end when it was found; `end_time` None: any end."""
        run = self._runs.get(replicate_id)
        if run is None or run.data.tags.get("archprior.status") != status:
            return False
        return run.info.end_time is not None and end_time in (None, run.info.end_time)

    def begin(
        self,
        replicate: Replicate,
        points: Sequence[Point],
        start: int | None = None,
        *,
        parent: str | None = None,
        name: str | None = None,
        live: bool = True,
    ) -> str:
        """Find or create the run of a replicate; returns its id.

        A run that holds other points than these is of a training that the store does not know, and
        is replaced. A new run is below `parent`, by default the study's own. It starts at `start`,
        in milliseconds since 1970, by default now: MLflow cannot change that later. With `live` a
        run that had ended is running again.
        """
        if self._num_held(replicate.id, points) is None:
            self._client.delete_run(self._runs.pop(replicate.id).info.run_id)
            self._held.pop(replicate.id, None)
        run = self._runs.get(replicate.id)
        if run is None:
            run = self._runs[replicate.id] = self._create(replicate, start, parent, name)
        elif live and replicate.id not in self._opened:
            self._reopen(run, replicate)
        self._opened.add(replicate.id)
        return str(run.info.run_id)

    def log_points(
        self,
        replicate: Replicate,
        points: Sequence[Point],
        start: int | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Log the points that a replicate's run lacks, then tags; returns the run's id.

        `points` are all points of the replicate in the order of measurement, and are sent in that
        order, so MLflow always holds the first ones. The run is found or made as by `begin`.
        """
        run_id = self.begin(replicate, points, start, live=tags is None)
        held = self._num_held(replicate.id, points) or 0
        params = params_of(replicate) if run_id in self._without_params else []
        facts = {} if tags is None else {"kind": _kind(replicate), **tags}
        batches.log(
            self._client, run_id, points[held:], params, tags_of(facts),
            per_call=self._metrics_per_call,
        )  # fmt: skip
        self._without_params.discard(run_id)
        if points:
            self._held[replicate.id] = len(points), points[-1]
        return run_id

    def adopt(self, replicate_id: str, parent: str) -> None:
        """Move the run of a replicate below `parent`, if it has one and is elsewhere."""
        run = self._runs.get(replicate_id)
        if run is not None and self._parents.get(replicate_id) != parent:
            self._client.set_tag(run.info.run_id, PARENT, parent)
            self._parents[replicate_id] = parent

    def below(self, replicate_ids: Iterable[str]) -> list[str]:
        """Ids of replicates whose runs are below the same runs as those of the given ones.

        Also of seeds that the study had before, and has not any more.
        """
        parents = {self._parents.get(identifier) for identifier in replicate_ids} - {self.parent_id}
        return [name for name, parent in self._parents.items() if parent in parents]

    def forget_error(self, replicate_id: str) -> None:
        """Remove the cause of an earlier failure from a replicate's run, if it has one."""
        run, tag = self._runs[replicate_id], tag_name("error")
        if run.data.tags.pop(tag, None) is not None:
            self._client.delete_tag(run.info.run_id, tag)

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
        """Log files (name to content) as artifacts of a run of the study or a replicate.

        Raises StorageError when the bucket of the store does not take them.
        """
        place, store = self._places[run_id], self._store
        if store is not None and not store.is_local and place.startswith(f"{store.uri}/"):
            bucket = store / place.removeprefix(f"{store.uri}/")
            for name, content in files.items():
                bucket.write(name, content)
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                Path(folder, name).write_bytes(content)
            if files:
                artifacts.log(self._client, run_id, folder, place=place)

    def log_data(self, run_id: str, data: Mapping[str, Replicate]) -> None:
        """Log the data sets of replicates as inputs of a run; those that it has stay."""
        if data:
            self._client.log_inputs(run_id, data_sets(data))

    def end(
        self,
        run_id: str,
        status: str,
        facts: Mapping[str, str] | None = None,
        end_time: int | None = None,
    ) -> None:
        """Set tags of a run, and mark it as over.

        `end_time` is in milliseconds since 1970, by default now.
        """
        if facts:
            self._client.log_batch(run_id, tags=tags_of(facts))
        self._client.set_terminated(run_id, status, end_time=end_time)

    def _create(
        self, replicate: Replicate, start: int | None, parent: str | None, name: str | None
    ) -> Run:
        tags = {
            KIND: _kind(replicate),
            _REPLICATE: replicate.id,
            "archprior.status": "running",
            PARENT: parent or self.parent_id,
        }
        run = self._client.create_run(
            self._experiment,
            start_time=start,
            tags=tags | self._source,
            run_name=name or run_name(replicate),
        )
        self._parents[replicate.id] = tags[PARENT]
        self._without_params.add(run.info.run_id)
        self._places[run.info.run_id] = run.info.artifact_uri
        return run

    def _reopen(self, run: Run, replicate: Replicate) -> None:
        facts = {"status": "running", "kind": _kind(replicate)}
        self._client.log_batch(run.info.run_id, tags=tags_of(facts))
        self._client.update_run(run.info.run_id, status="RUNNING")
        self.forget_error(replicate.id)


def _kind(replicate: Replicate) -> str:
    return (RunKind.candidate if replicate.role == Role.candidate else RunKind.replicate).value


def artifact_location(tracking_uri: str, store: Folder, study: str) -> str | None:
    """Folder for a study's artifacts, beside the database; None lets a server decide."""
    if tracking_uri.startswith("http"):
        return None
    if store.is_local:
        return location(Path(store.uri), study)
    return (store / ARTIFACTS_FOLDER / study).uri


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
