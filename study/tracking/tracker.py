"""MLflow as a projection of the store, written by the driver alone.

What a replicate reports is logged as it comes. Nothing waits for MLflow: while it is away, what it
lacks is kept, and it gets it when it is back, or from the store at the end, or in the next run. The
store's history keeps the timestamps, so no point enters twice.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from analysis.database import opened
from study.errors import RunError
from study.plan.progress import Progress, State
from study.tracking import database
from study.tracking.mlflow_runs import StudyRuns, artifact_location
from trainers.messages import Measured
from trainers.store.store import ARTIFACTS, CorruptError
from trainers.store.store import Replicate as StoredReplicate
from trainers.store.tables import History, Point

_FLUSH_SECONDS = 2.0
#: Between attempts while MLflow does not answer.
_AWAY_SECONDS = 15.0
_RUN_STATUS = {"finished": "FINISHED", "failed": "FAILED", "blocked": "KILLED"}
#: MLflow's client by default waits two minutes for an answer, tries eight times, and prints two
#: lines for every run that ends.
_MANNERS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

Say = Callable[[str], object]


class TrackingError(RunError):
    """MLflow does not answer, or refuses; the message names its URI."""


class Tracker:
    """Writes a study into MLflow: live from a thread, and from the store at the end.

    `say` gets a line when MLflow goes away or comes back, and about files that are damaged.
    """

    def __init__(
        self, progress: Progress, tracking_uri: str, facts: Mapping[str, str], say: Say = print
    ) -> None:
        for name, value in _MANNERS.items():
            os.environ.setdefault(name, value)
        self._progress, self._facts, self._say = progress, dict(facts), say
        self._uri = tracking_uri
        name, store = progress.plan.name, progress.store.root
        with self._said_of_errors():
            database.prepare(tracking_uri, store, name, say)
            client = opened(tracking_uri)
        self._runs = StudyRuns(client, name, artifact_location(tracking_uri, store, name))
        self._by_id = {replicate.id: replicate for replicate in progress.plan.replicates}
        self._complete: set[str] = set()
        #: Points that MLflow has had live from this object, by replicate.
        self._logged: dict[str, int] = {}
        self._points: dict[str, list[Point]] = {}
        #: When training began of what has reported, in milliseconds since 1970.
        self._started: dict[str, int] = {}
        self._ended: dict[str, None] = {}
        self._away = False
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def start(self, files: Mapping[str, bytes]) -> None:
        """Create or find the study's runs; `files` become artifacts of the study's.

        Raises TrackingError when MLflow does not answer.
        """
        with self._said_of_errors():
            self._runs.open(self._facts, files)
        self._complete = {
            identifier
            for identifier, state in self._progress.states.items()
            if state.status in _RUN_STATUS and state.status == self._runs.status(identifier)
        }
        self._thread = threading.Thread(target=self._write_live, name="mlflow", daemon=True)
        self._thread.start()

    @contextmanager
    def _said_of_errors(self) -> Iterator[None]:
        """Whatever MLflow raises becomes a TrackingError that names it."""
        try:
            yield
        except Exception as error:
            raise TrackingError(f"MLflow at {self._uri}: {_first_line(error)}") from error

    def log(self, message: Measured) -> None:
        """Log what was measured soon; returns at once."""
        self._queue.put(asdict(message))

    def ended(self, replicate_id: str) -> None:
        """Complete the run of a replicate that has ended, soon; returns at once."""
        self._queue.put({"replicate_id": replicate_id, "ended": True})

    def close(self, files: Mapping[str, bytes] | None = None) -> None:
        """Write what is still queued, then fill in from the store all that MLflow lacks.

        `files` become artifacts of the study's run.

        Raises TrackingError when MLflow does not take it; the next run of the study does it then.
        """
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join()
        with self._said_of_errors():
            if self._away:
                self._runs.find()
            for replicate in self._progress.plan.replicates:
                self.settle(replicate.id)
            self._runs.log_files(self._runs.parent_id, files or {})
            failed = any(s.status != "finished" for s in self._progress.states.values())
            self._runs.end(self._runs.parent_id, "FAILED" if failed else "FINISHED")

    def run_ids(self) -> dict[str, str]:
        """Which run is which replicate's."""
        return self._runs.ids()

    def settle(self, replicate_id: str) -> None:
        """Bring the run of a replicate that has ended to what the store holds of it."""
        state = self._progress.states[replicate_id]
        if replicate_id in self._complete or state.status not in _RUN_STATUS:
            return
        stored = self._progress.store.replicate(replicate_id)
        try:
            points, files = _content(stored, state)
            start, end = _times(stored, state, points)
        except CorruptError as error:
            self._say(f"warning: {error}: run the study again to train it anew")
            stored.discard()
            self._progress.refresh(replicate_id)
            return
        run_id = self._reconciled(replicate_id, points, start)
        # Those that came live are there; those that sum it up come last.
        self._runs.log_points(run_id, points[self._logged.get(replicate_id, 0) :])
        self._runs.log_files(run_id, files)
        self._runs.end(run_id, _RUN_STATUS[state.status], _ending_tags(state, stored), end)
        self._logged[replicate_id] = len(points)
        self._complete.add(replicate_id)

    def _reconciled(self, replicate_id: str, points: list[Point], start: int | None) -> str:
        """The run to fill in: a new one where the old holds reports that the store does not."""
        replicate = self._by_id[replicate_id]
        run_id = self._runs.run_of(replicate, start)
        live = self._logged.get(replicate_id, 0)
        if replicate_id not in self._runs.found and live in (0, _num_reported(points)):
            return run_id
        # A worker, a driver or an answer was lost on the way: all is logged once more.
        self._logged[replicate_id] = 0
        reported = {(point.step, point.timestamp) for point in points}
        if self._runs.known(replicate) <= reported:
            return run_id
        return self._runs.replace(replicate, start)

    def _write_live(self) -> None:
        open_ = True
        while open_:
            open_ = self._receive()
            try:
                self._write()
            except Exception as error:
                if not self._away:
                    self._say(
                        f"warning: MLflow at {self._uri} does not answer, training goes on: "
                        f"{_first_line(error)}"
                    )
                self._away = True

    def _receive(self) -> bool:
        """Wait for reports and sort them; False when there will be no more."""
        waiting = bool(self._points or self._ended)
        try:
            payloads = [self._queue.get(timeout=_AWAY_SECONDS if waiting else None)]
        except queue.Empty:
            return True
        if payloads[0] is not None:
            time.sleep(_AWAY_SECONDS if self._away else _FLUSH_SECONDS)
        while not self._queue.empty():
            payloads.append(self._queue.get())
        for payload in payloads:
            if payload is None:
                return False
            if "ended" in payload:
                self._ended[payload["replicate_id"]] = None
            else:
                self._points.setdefault(payload["replicate_id"], []).extend(_points(payload))
                self._started.setdefault(payload["replicate_id"], payload["started"])
        return True

    def _write(self) -> None:
        """Write what has come; what fails stays for the next time."""
        if self._away:
            self._runs.find()
            self._say(f"MLflow at {self._uri} answers again")
            self._away = False
        for identifier in list(self._points):
            points = self._points[identifier]
            run_id = self._runs.run_of(self._by_id[identifier], self._started[identifier])
            self._runs.log_points(run_id, points)
            self._logged[identifier] = self._logged.get(identifier, 0) + len(points)
            del self._points[identifier]
        for identifier in list(self._ended):
            self.settle(identifier)
            del self._ended[identifier]


def _points(payload: Mapping[str, Any]) -> list[Point]:
    step, timestamp = payload["step"], payload["timestamp"]
    return [Point(step, timestamp, name, value) for name, value in payload["metrics"].items()]


_SUMMARY = ("train_seconds", "steps")


def _content(stored: StoredReplicate, state: State) -> tuple[list[Point], dict[str, bytes]]:
    """What MLflow should hold of a replicate that has ended: points in order, and artifacts."""
    if state.result is None:
        return _saved_points(stored), {}
    files = {name: stored.read(name) for name in ARTIFACTS if name in state.result.files}
    points = History.from_parquet(stored.id, files["history.parquet"]).points
    last = points[-1]
    summary = [
        Point(last.step, last.timestamp, name, getattr(state.result, name)) for name in _SUMMARY
    ]
    return points + summary, files


def _times(
    stored: StoredReplicate, state: State, points: list[Point]
) -> tuple[int | None, int | None]:
    """When training began and ended, in milliseconds since 1970, as far as the store knows.

    Of one that was interrupted it is the time of its first report that the store has.
    """
    first = points[0].timestamp if points else None
    if state.result is not None:
        end = int(state.result.ended * 1000)
        start = end - int(state.result.train_seconds * 1000)
        return (start if first is None else min(start, first)), end
    failure = stored.failure()
    if failure is None:
        return first, None
    end = int(failure.time * 1000)
    return (end if first is None else first), end


def _saved_points(stored: StoredReplicate) -> list[Point]:
    try:
        history = stored.history()
    except CorruptError:
        return []
    return [] if history is None else history.points


def _num_reported(points: list[Point]) -> int:
    return sum(point.metric not in _SUMMARY for point in points)


def _ending_tags(state: State, stored: StoredReplicate) -> dict[str, str]:
    """Status and cause, and where the numbers come from: facts of the replicate's own training."""
    tags = stored.provenance() | {"status": state.status}
    if state.error is not None:
        tags["error"] = state.error
    if state.result is not None:
        facts = ("torch_version", "device", "host", "data_fingerprint")
        tags |= {key: str(getattr(state.result, key)) for key in facts}
    return tags


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:500]
