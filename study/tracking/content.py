"""The content of runs in MLflow, according to the store: of a replicate, and of a condition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from analysis.contract import RunKind, Status
from study.plan.replicates import Replicate as PlannedReplicate
from study.plan.states import State
from study.tracking.curves import curves
from study.tracking.groups import Group
from study.tracking.source import commit_tags
from trainers.store.lease import holder
from trainers.store.records import ResultRecord
from trainers.store.store import REPLICATE_TABLES, WEIGHTS, CorruptError, Replicate, Store
from trainers.store.tables import History, Point

#: Fields of a result that become points, after those of the history.
_SUMMARY = ("train_seconds", "steps")
#: Fields of a result that become tags.
_FACTS = ("torch_version", "device", "host", "data_fingerprint")


@dataclass(frozen=True, kw_only=True)
class Content:
    """Points in the order of measurement, artifacts and tags; times in ms since 1970.

    Training began at `start` and ended at `end`; None where the store does not know. Only ended
    replicates have `files`, `tags` and `end`. `data` are replicates by the fingerprint of the data
    that they were trained on, one for each.
    """

    points: list[Point]
    start: int | None = None
    end: int | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, PlannedReplicate] = field(default_factory=dict)


def has_ended(state: State) -> bool:
    """Whether a replicate is finished, failed or blocked."""
    return state.status != Status.missing


def content_of(stored: Replicate, replicate: PlannedReplicate, state: State) -> Content:
    """The content of a replicate in this state, from the store.

    Raises CorruptError when a file of a replicate that has ended is damaged, FileNotFoundError when
    it is gone. A damaged history of any other counts as none: the trial that resumes it warns.
    """
    if state.result is not None:
        return _of_result(stored, replicate, state, state.result)
    points = _saved_points(stored, ended=has_ended(state))
    first = points[0].timestamp if points else None
    if not has_ended(state):
        return Content(points=points, start=_begin(stored, first))
    failure = stored.failure()
    end = None if failure is None else int(failure.time * 1000)
    start = end if first is None else first
    return Content(points=points, start=start, end=end, tags=_tags(stored, state))


def content_of_group(store: Store, group: Group, states: Mapping[str, State]) -> Content:
    """The content of a group whose replicates have ended: their curves, and how many there are.

    Raises CorruptError when a history is damaged, FileNotFoundError when it is gone.
    """
    results = {m.id: states[m.id].result for m in group.members}
    finished = {name: result for name, result in results.items() if result is not None}
    failed = len(results) - len(finished)
    tags: dict[str, str] = {"status": Status.failed if failed else Status.finished}
    if not finished:
        return Content(points=[], tags=tags)
    points: list[Point] = []
    if group.kind == RunKind.condition:
        points = curves([_history(store.replicate(n), r) for n, r in finished.items()])
    end = max(_finished_at(result) for result in finished.values())
    step = max((point.step for point in points), default=0)
    counts = {"n": len(finished), "n_failed": failed}
    points += [Point(step, end, name, float(count)) for name, count in counts.items()]
    data = {r.data_fingerprint: m for m in group.members if (r := results[m.id]) is not None}
    commits = [commit_tags(store.replicate(name).provenance()) for name in finished]
    if all(commit == commits[0] for commit in commits):
        tags |= commits[0]
    return Content(points=points, end=end, tags=tags, data=data)


def begin_of(states: Iterable[State]) -> int | None:
    """First begin of replicates that have finished in ms since 1970; None where none has."""
    results = (state.result for state in states if state.result is not None)
    return min(map(_started_at, results), default=None)


def end_of(state: State) -> int | None:
    """End of a finished replicate in ms since 1970; None for every other."""
    return None if state.result is None else _finished_at(state.result)


def _finished_at(result: ResultRecord) -> int:
    return int(result.ended * 1000)


def _started_at(result: ResultRecord) -> int:
    return _finished_at(result) - int(result.train_seconds * 1000)


def _begin(stored: Replicate, first: int | None) -> int | None:
    """Begin of a training that goes on: its first report, or before that when it was taken up."""
    at_work = holder(stored.folder)
    if first is None or at_work is None:
        return first
    return min(first, int(at_work.since * 1000))


def _of_result(
    stored: Replicate, replicate: PlannedReplicate, state: State, result: ResultRecord
) -> Content:
    files = {name: stored.read(name, result) for name in REPLICATE_TABLES if name in result.files}
    points = History.from_parquet(stored.id, files["history.parquet"]).points
    start = min(_started_at(result), points[0].timestamp)
    tags = _tags(stored, state) | {key: str(getattr(result, key)) for key in _FACTS}
    if WEIGHTS in result.files:
        # Relative to the store, which may be moved.
        tags["weights"] = f"replicates/{stored.id}/{WEIGHTS}"
        tags["weights_sha256"] = result.files[WEIGHTS].digest
    return Content(
        points=points + _summary(points, result),
        start=start,
        end=_finished_at(result),
        files=files,
        tags=tags,
        data={result.data_fingerprint: replicate},
    )


def _summary(points: list[Point], result: ResultRecord) -> list[Point]:
    last = points[-1]
    return [Point(last.step, last.timestamp, name, getattr(result, name)) for name in _SUMMARY]


def _history(stored: Replicate, result: ResultRecord) -> list[Point]:
    history = stored.history()
    if history is None or not history.points:
        raise FileNotFoundError(f"{stored.folder.uri}/history.parquet")
    return history.points + _summary(history.points, result)


def _saved_points(stored: Replicate, *, ended: bool) -> list[Point]:
    try:
        history = stored.history()
    except CorruptError:
        if ended:
            raise
        return []
    return [] if history is None else history.points


def _tags(stored: Replicate, state: State) -> dict[str, str]:
    """Tags of an ended replicate: status, cause, and the provenance of its own training."""
    provenance = stored.provenance()
    cause = {} if state.error is None else {"error": state.error}
    return provenance | commit_tags(provenance) | {"status": state.status} | cause
