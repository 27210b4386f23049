"""The content of a replicate's run in MLflow, according to the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from analysis.contract import Status
from study.plan.progress import State
from trainers.store.records import ResultRecord
from trainers.store.store import ARTIFACTS, CorruptError, Replicate
from trainers.store.tables import History, Point

#: Fields of a result that become points, after those of the history.
_SUMMARY = ("train_seconds", "steps")
#: Fields of a result that become tags.
_FACTS = ("torch_version", "device", "host", "data_fingerprint")


@dataclass(frozen=True, kw_only=True)
class Content:
    """Points in the order of measurement, artifacts and tags; times in ms since 1970.

    Training began at `start` and ended at `end`; None where the store does not know. Only ended
    replicates have `files`, `tags` and `end`.
    """

    points: list[Point]
    start: int | None = None
    end: int | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def has_ended(state: State) -> bool:
    """Whether a replicate is finished, failed or blocked."""
    return state.status != Status.missing


def content_of(stored: Replicate, state: State) -> Content:
    """The content of a replicate in this state, from the store.

    Raises CorruptError when a file of a replicate that has ended is damaged, FileNotFoundError when
    it is gone. A damaged history of any other counts as none: the trial that resumes it warns.
    """
    if state.result is not None:
        return _of_result(stored, state, state.result)
    points = _saved_points(stored, ended=has_ended(state))
    first = points[0].timestamp if points else None
    if not has_ended(state):
        return Content(points=points, start=first)
    failure = stored.failure()
    end = None if failure is None else int(failure.time * 1000)
    start = end if first is None else first
    return Content(points=points, start=start, end=end, tags=_tags(stored, state))


def end_of(state: State) -> int | None:
    """End of a finished replicate in ms since 1970; None for every other."""
    return None if state.result is None else _finished_at(state.result)


def _finished_at(result: ResultRecord) -> int:
    return int(result.ended * 1000)


def _of_result(stored: Replicate, state: State, result: ResultRecord) -> Content:
    files = {name: stored.read(name, result) for name in ARTIFACTS if name in result.files}
    points = History.from_parquet(stored.id, files["history.parquet"]).points
    first, last = points[0], points[-1]
    summary = [Point(last.step, last.timestamp, name, getattr(result, name)) for name in _SUMMARY]
    end = _finished_at(result)
    start = min(end - int(result.train_seconds * 1000), first.timestamp)
    tags = _tags(stored, state) | {key: str(getattr(result, key)) for key in _FACTS}
    return Content(points=points + summary, start=start, end=end, files=files, tags=tags)


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
    cause = {} if state.error is None else {"error": state.error}
    return stored.provenance() | {"status": state.status} | cause
