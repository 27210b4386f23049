"""The content of a replicate's run in MLflow, as the store has it now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from analysis.contract import Status
from study.plan.progress import State
from trainers.store.records import ResultRecord
from trainers.store.store import ARTIFACTS, CorruptError, Replicate
from trainers.store.tables import History, Point

#: Numbers of a result that become points, after those of its history.
_SUMMARY = ("train_seconds", "steps")
#: Facts of a result that become tags.
_FACTS = ("torch_version", "device", "host", "data_fingerprint")


@dataclass(frozen=True, kw_only=True)
class Content:
    """Points in the order in which they came, artifacts and tags; times in ms since 1970.

    `start` is when training began and `end` when it ended, as far as the store knows. Files, tags
    and `end` are those of a replicate that has ended.
    """

    points: list[Point]
    start: int | None = None
    end: int | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


def has_ended(state: State) -> bool:
    """Whether nothing more is to come of a replicate, in this run of its study."""
    return state.status != Status.missing


def content_of(stored: Replicate, state: State) -> Content:
    """What the store holds of a replicate in this state.

    Raises CorruptError when a file of a finished one is damaged; a damaged history of another is
    none, for the trial that goes on with it says so.
    """
    if state.result is not None:
        return _of_result(stored, state, state.result)
    points = _saved_points(stored)
    first = points[0].timestamp if points else None
    if not has_ended(state):
        return Content(points=points, start=first)
    failure = stored.failure()
    end = None if failure is None else int(failure.time * 1000)
    start = end if first is None else first
    return Content(points=points, start=start, end=end, tags=_tags(stored, state))


def end_of(state: State) -> int | None:
    """When a finished replicate was finished, in ms since 1970; None of every other."""
    return None if state.result is None else _finished_at(state.result)


def _finished_at(result: ResultRecord) -> int:
    return int(result.ended * 1000)


def _of_result(stored: Replicate, state: State, result: ResultRecord) -> Content:
    files = {name: stored.read(name) for name in ARTIFACTS if name in result.files}
    points = History.from_parquet(stored.id, files["history.parquet"]).points
    first, last = points[0], points[-1]
    summary = [Point(last.step, last.timestamp, name, getattr(result, name)) for name in _SUMMARY]
    end = _finished_at(result)
    start = min(end - int(result.train_seconds * 1000), first.timestamp)
    tags = _tags(stored, state) | {key: str(getattr(result, key)) for key in _FACTS}
    return Content(points=points + summary, start=start, end=end, files=files, tags=tags)


def _saved_points(stored: Replicate) -> list[Point]:
    try:
        history = stored.history()
    except CorruptError:
        return []
    return [] if history is None else history.points


def _tags(stored: Replicate, state: State) -> dict[str, str]:
    """Status and cause, and where the numbers come from: facts of the replicate's own training."""
    cause = {} if state.error is None else {"error": state.error}
    return stored.provenance() | {"status": state.status} | cause
