"""Runs of conditions and searches, which are above those of replicates.

A point of a metric cannot be changed in MLflow. So a condition's curves are logged once all its
replicates have ended, beside a digest of these ends; where that is another later (more seeds, a
replicate trained anew), the run is deleted and made anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mlflow import MlflowClient
from mlflow.entities import Run

from analysis.contract import Status
from study.tracking import batches
from study.tracking.content import Content
from study.tracking.data_sets import data_sets
from study.tracking.groups import Group
from study.tracking.params import tag_name, tags_of

KIND, CONDITION, PARENT = "archprior.kind", "archprior.condition_id", "mlflow.parentRunId"
_CONTENTS = "contents"
#: Contents of a run with points that does not say of what they are.
_UNKNOWN = ""

_Key = tuple[str, str]


class GroupRuns:
    """Runs of the groups of a study's replicates, below the study's own run `parent_id`.

    `found` are those that MLflow has, `source` are tags of new ones.
    """

    def __init__(
        self,
        client: MlflowClient,
        experiment: str,
        parent_id: str,
        found: Iterable[Run],
        source: Mapping[str, str],
    ) -> None:
        self._client, self._experiment, self._parent_id = client, experiment, parent_id
        self._source = source
        self._runs: dict[_Key, Run] = {}
        self._status: dict[_Key, str] = {}
        #: Contents of which a run has points, and those that it has completely.
        self._begun: dict[_Key, str] = {}
        self._complete: dict[_Key, str] = {}
        for run in sorted(found, key=lambda run: run.info.start_time):
            self._take(run)

    def _take(self, run: Run) -> None:
        """Note a run; of several, where a creation was not answered, the newest stays."""
        tags = run.data.tags
        key = tags[KIND], tags[CONDITION]
        if key in self._runs:
            self._delete(key)
        self._runs[key], self._status[key] = run, run.info.status
        contents = tags.get(tag_name(_CONTENTS), _UNKNOWN)
        if run.data.metrics or contents:
            self._begun[key] = contents
        if contents and run.info.status in ("FINISHED", "FAILED"):
            self._complete[key] = contents

    def has(self, group: Group) -> bool:
        """Whether there is a run of a group."""
        return _key(group) in self._runs

    def holds(self, group: Group, contents: str) -> bool:
        """Whether the run of a group was ended with these contents."""
        return self._complete.get(_key(group)) == contents

    def open(self, group: Group, start: int | None, *, live: bool = False) -> str:
        """Find or create the run of a group; returns its id.

        A new one starts at `start`, in ms since 1970. With `live` one that had ended is running.
        """
        key = _key(group)
        run = self._runs.get(key) or self._create(group, start)
        if run.data.tags.get(PARENT) != self._parent_id:
            self._client.set_tag(run.info.run_id, PARENT, self._parent_id)
            run.data.tags[PARENT] = self._parent_id
        if live and self._status[key] != "RUNNING":
            self._client.update_run(run.info.run_id, status="RUNNING")
            self._status[key] = "RUNNING"
            self._complete.pop(key, None)
        return str(run.info.run_id)

    def write(self, group: Group, contents: str, content: Content, start: int | None) -> str:
        """Log the content of a group whose replicates have ended, and end its run; returns its id.

        The run is another one afterwards where it had points of other contents.
        """
        key = _key(group)
        if self._begun.get(key, contents) != contents:
            self._delete(key)
        run_id = self.open(group, start)
        self._begun[key] = contents
        first = content.points[: batches.METRICS_PER_CALL]
        params = [] if self._runs[key].data.params else group.params
        # The digest is there as soon as a point is.
        tags = tags_of({_CONTENTS: contents, **content.tags})
        batches.log(self._client, run_id, first, params, tags)
        batches.log(self._client, run_id, content.points[len(first) :])
        inputs = data_sets(content.data)
        if inputs:
            self._client.log_inputs(run_id, inputs)
        finished = content.tags["status"] == Status.finished
        self._status[key] = "FINISHED" if finished else "FAILED"
        self._client.set_terminated(run_id, self._status[key], end_time=content.end)
        self._complete[key] = contents
        return run_id

    def interrupt(self, group: Group) -> None:
        """Mark the run of a group, if there is one, as over before its replicates were."""
        key = _key(group)
        if self._status.get(key) == "RUNNING":
            self._client.set_terminated(self._runs[key].info.run_id, "KILLED")
            self._status[key] = "KILLED"

    def _create(self, group: Group, start: int | None) -> Run:
        tags = {KIND: group.kind.value, CONDITION: group.id, PARENT: self._parent_id}
        run = self._client.create_run(
            self._experiment, start_time=start, tags={**tags, **self._source}, run_name=group.name
        )
        self._runs[_key(group)], self._status[_key(group)] = run, "RUNNING"
        return run

    def _delete(self, key: _Key) -> None:
        self._client.delete_run(self._runs.pop(key).info.run_id)
        for known in (self._status, self._begun, self._complete):
            known.pop(key, None)


def _key(group: Group) -> _Key:
    return group.kind.value, group.id
