"""MLflow as a projection of the store, written by the driver alone.

There is one way in: points of a replicate's history in the store that MLflow lacks are sent, while
the replicate is trained, when it has ended, after an outage, and in the next run. Training never
waits for MLflow.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

from analysis.contract import MLFLOW_RUNS
from analysis.database import opened
from analysis.servers import NoAnswerError, refusal, timed_out
from study.errors import RunError
from study.plan.progress import Progress
from study.plan.replicates import Replicate
from study.plan.states import State
from study.tracking import database
from study.tracking.content import (
    Content,
    begin_of,
    content_of,
    content_of_group,
    end_of,
    has_ended,
)
from study.tracking.groups import Group, Groups
from study.tracking.mlflow_runs import StudyRuns, artifact_location
from study.tracking.names import run_name
from study.tracking.source import commit_tags
from trainers.data import json_mapping
from trainers.errors import first_line
from trainers.secrets import masked
from trainers.store.folder import StorageError
from trainers.store.store import CorruptError
from trainers.store.store import Replicate as StoredReplicate

_RUN_STATUS = {"finished": "FINISHED", "failed": "FAILED", "blocked": "KILLED"}

Say = Callable[[str], object]


class TrackingError(RunError):
    """MLflow does not answer, or refuses; the message names its URI."""


class Tracker:
    """Brings a study's runs in MLflow to the state of the store, from a thread and at the end.

    `say` gets a line when MLflow cannot be written or can again, and about files that are damaged.
    """

    #: Pause between looks at the marked replicates.
    pause_seconds: ClassVar[float] = 1.0
    #: Pause between points of replicates that are being trained: a batch for each of them.
    live_seconds: ClassVar[float] = 10.0
    #: Pause between attempts while MLflow cannot be written.
    away_seconds: ClassVar[float] = 15.0

    def __init__(
        self, progress: Progress, tracking_uri: str, facts: Mapping[str, str], say: Say = print
    ) -> None:
        #: States of the study's replicates.
        self.progress = progress
        self._facts, self._say = dict(facts) | commit_tags(facts), say
        self._shown = masked(tracking_uri)
        self._files: dict[str, bytes] = {}
        self._groups = Groups(progress.plan)
        name, store = progress.plan.name, progress.store.root
        with self._named_errors():
            database.prepare(tracking_uri, store, name, say)
            client = opened(tracking_uri)
        place = artifact_location(tracking_uri, store, name)
        self._runs = StudyRuns(client, name, place, store=store)
        #: Replicates of which the store may have more than MLflow, the longest waiting first.
        self._marked: dict[str, None] = {}
        #: States that MLflow holds completely, by replicate id.
        self._complete: dict[str, State] = {}
        self._behind = False
        #: When points of replicates that are being trained are sent next, of the monotonic clock.
        self._live_at = 0.0
        #: Digests of what MLflow has of the begin and of the end of a run, where it has all.
        self._settled: tuple[str, str] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="mlflow", daemon=True)

    def start(self, files: Mapping[str, bytes]) -> None:
        """Create or find the study's runs; `files` become artifacts of the study's own run.

        Where MLflow has what the store has, nothing is asked of it but the study's own run. A
        server that is only slow, because many studies begin at once, gets all of it later.

        Raises TrackingError when MLflow does not answer, or refuses.
        """
        self._files = dict(files)
        try:
            if not self._has_all():
                self._meet()
        except TrackingError as error:
            if not timed_out(error):
                raise
            self._say_behind(error)
        self._thread.start()

    def _has_all(self) -> bool:
        """Whether MLflow has what the store has, as the study's own run says, and no more comes."""
        if self.progress.todo or self.progress.plan.later:
            return False
        with self._named_errors():
            found = self._runs.settled()
        if found is None or found[0] != self._begin_digest(self._files, self._ids_in_store()):
            return False
        self._settled = found
        return True

    def mark(self, replicate_id: str) -> None:
        """Note that the store has new points of a replicate, or its end; returns at once."""
        self._marked[replicate_id] = None

    def stop(self) -> None:
        """Stop the thread; what MLflow lacks then, it gets from `close` or the next run."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join()

    def close(self, files: Mapping[str, bytes] | None = None, *, interrupted: bool = False) -> None:
        """Send everything that MLflow lacks of replicates that were begun, and end the study's run.

        `files` become artifacts of it. Runs of replicates that were begun and have not ended are
        marked KILLED.

        Raises TrackingError when MLflow does not take it; the next run of the study sends it then.
        """
        self.stop()
        content = _digest(sorted((files or {}).items()))
        if self._settled is not None:
            if not self._marked and (interrupted or self._settled[1] == content):
                return
            self._settled = None
            self._meet()
        if self._behind:
            self._meet_again()
        begun = self._marked.keys() | self._runs.ids().keys()
        for identifier, state in list(self.progress.states.items()):
            if has_ended(state) or identifier in begun:
                self.project(identifier)
        with self._named_errors():
            states = self.progress.states
            for identifier, run_id in self._runs.ids().items():
                if identifier in states and not has_ended(states[identifier]):
                    self._runs.end(run_id, "KILLED")
            settled = [self._settle(group) for group in self._present_groups()]
            self._runs.log_files(self._runs.parent_id, files or {})
            self._runs.log_data(self._runs.parent_id, self._data())
            end = self._end() if self.progress.complete else None
            self._runs.end(self._runs.parent_id, self._study_status(interrupted), end_time=end)
            if all(settled) and not interrupted:
                grown = {name: (files or {}).get(name, old) for name, old in self._files.items()}
                begin = self._begin_digest(grown, self._runs.ids())
                self._runs.settle(begin, content)

    def run_ids(self) -> dict[str, str]:
        """MLflow's run ids by replicate id."""
        return self._ids_in_store() if self._settled is not None else self._runs.ids()

    def _ids_in_store(self) -> dict[str, str]:
        """The run ids that an earlier run of the study wrote into the store; empty without any."""
        folder = self.progress.store.root / "studies" / self.progress.plan.name
        try:
            return json_mapping.parse(folder.read(MLFLOW_RUNS))
        except (FileNotFoundError, ValueError):
            return {}

    def _begin_digest(self, files: Mapping[str, bytes], run_ids: Mapping[str, str]) -> str:
        """Digest of what MLflow has of a study before anything is trained."""
        states = {
            name: [state.status, state.error, state.result and state.result.ended]
            for name, state in self.progress.states.items()
        }
        content = [states, dict(run_ids), self._facts]
        return _digest([*sorted(files.items()), ("", json.dumps(content, sort_keys=True).encode())])

    def project(self, replicate_id: str) -> None:
        """Bring the run of a replicate to the state of the store.

        Raises TrackingError when MLflow does not take it.
        """
        state = self.progress.states[replicate_id]
        if self._complete.get(replicate_id) == state:
            return
        stored = self.progress.store.replicate(replicate_id)
        try:
            content = content_of(stored, self.progress.by_id[replicate_id], state)
        except FileNotFoundError:
            # Another process trains it anew.
            self.progress.refresh(replicate_id)
            return
        except CorruptError as error:
            self._take_damage(stored, state, error)
            return
        if content.points or has_ended(state):
            with self._named_errors():
                self._write(replicate_id, state, content)

    def _take_damage(self, stored: StoredReplicate, state: State, error: CorruptError) -> None:
        """Discard a finished replicate that is damaged; leave the run of a failed one as it is."""
        if state.result is None:
            self._say(f"warning: {error}; its run in MLflow stays as it is")
            self._complete[stored.id] = state
            return
        self._say(f"warning: {error}: run the study again to train it anew")
        self.progress.discard(stored.id)

    def _write(self, replicate_id: str, state: State, content: Content) -> None:
        replicate, runs, ended = self.progress.by_id[replicate_id], self._runs, has_ended(state)
        group = self._present_groups().of(replicate_id)
        parent = runs.groups.open(group, content.start, live=not ended)
        name = run_name(replicate, self._groups.naming)
        run_id = runs.begin(
            replicate, content.points, content.start, parent=parent, name=name, live=not ended
        )
        runs.adopt(replicate_id, parent)
        if not ended:
            runs.log_points(replicate, content.points, content.start)
            return
        runs.log_files(run_id, content.files)
        runs.log_data(run_id, content.data)
        if state.error is None:
            runs.forget_error(replicate_id)
        # A reader of the tags finds all there.
        runs.log_points(replicate, content.points, content.start, content.tags)
        runs.end(run_id, _RUN_STATUS[state.status], end_time=content.end)
        self._complete[replicate_id] = state
        self._finish(group)

    def _present_groups(self) -> Groups:
        """The groups of the present plan, which grows with a search."""
        if self._groups.plan is not self.progress.plan:
            self._groups = Groups(self.progress.plan)
        return self._groups

    def _settle(self, group: Group) -> bool:
        """Bring the run of a group to the state of the store, and its replicates' runs below it.

        Returns whether MLflow has all of it.
        """
        members = [member.id for member in group.members]
        begun = self._runs.begin_of(members)
        if begun is None:
            return False
        parent = self._runs.groups.open(group, self._begin_of(group, begun))
        for identifier in members:
            self._runs.adopt(identifier, parent)
        finished = self._finish(group)
        if not finished:
            self._runs.groups.interrupt(group)
        return finished

    def _finish(self, group: Group) -> bool:
        """Write the curves of a group if all its replicates are in MLflow; returns whether."""
        states = {member.id: self.progress.states[member.id] for member in group.members}
        if any(self._complete.get(identifier) != state for identifier, state in states.items()):
            return False
        contents = group.contents(states)
        if self._runs.groups.holds(group, contents):
            return True
        try:
            content = content_of_group(self.progress.store, group, states)
        except (CorruptError, FileNotFoundError) as error:
            self._say(f"warning: {error}; the curves of {group.name} in MLflow stay as they are")
            return False
        start, before = self._begin_of(group, self._runs.begin_of(states)), self._runs.below(states)
        parent = self._runs.groups.write(group, contents, content, start)
        for identifier in before:
            self._runs.adopt(identifier, parent)
        return True

    def _begin_of(self, group: Group, begun: int | None) -> int | None:
        """Begin of the first replicate of a group; `begun` is that of the runs in MLflow."""
        first = begin_of(self.progress.states[member.id] for member in group.members)
        return min((time for time in (first, begun) if time is not None), default=None)

    def _data(self) -> dict[str, Replicate]:
        """A replicate for each fingerprint of data that the study was trained on."""
        return {
            state.result.data_fingerprint: self.progress.by_id[identifier]
            for identifier, state in self.progress.states.items()
            if state.result is not None
        }

    def _end(self) -> int | None:
        """End of the last replicate, in ms since 1970."""
        ends = map(end_of, self.progress.states.values())
        return max((end for end in ends if end is not None), default=None)

    def _meet(self) -> None:
        """Create or find the study's runs, and note the states that MLflow holds completely."""
        with self._named_errors():
            begin = begin_of(self.progress.states.values())
            self._runs.open(self._facts, self._files, begin)
        self._complete = {
            identifier: state
            for identifier, state in self.progress.states.items()
            if has_ended(state) and self._runs.has_end(identifier, state.status, end_of(state))
        }

    def _meet_again(self) -> None:
        self._meet()
        self._say(f"MLflow at {self._shown} is written again")
        self._behind = False

    def _follow(self) -> None:
        """Project marked replicates until the tracker is closed."""
        pause = self.pause_seconds
        while not self._closed.wait(pause):
            began = time.monotonic()
            try:
                self._project_marked()
            except Exception as error:
                self._say_behind(error)
            # Histories are read whole: at least half the time is a pause.
            spent = time.monotonic() - began
            pause = self.away_seconds if self._behind else max(self.pause_seconds, spent)

    def _project_marked(self) -> None:
        if self._marked and self._behind:
            self._meet_again()
        now, states = time.monotonic(), self.progress.states
        live = now >= self._live_at
        # A copy: the thread of the run marks meanwhile.
        marked = [name for name in list(self._marked) if live or has_ended(states[name])]
        if live and marked:
            self._live_at = now + self.live_seconds
        for identifier in marked:
            if self._closed.is_set():
                return
            # Before the history is read: points that are saved meanwhile mark it anew.
            del self._marked[identifier]
            try:
                self.project(identifier)
            except Exception:
                self.mark(identifier)
                raise

    def _say_behind(self, error: Exception) -> None:
        if not self._behind:
            cause = _cause(error.__cause__ or error)
            self._say(f"warning: MLflow at {self._shown} is behind, training goes on: {cause}")
        self._behind = True

    def _study_status(self, interrupted: bool) -> str:
        if interrupted:
            return "KILLED"
        return "FINISHED" if self.progress.complete else "FAILED"

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Raise any error of MLflow as a TrackingError that names its URI.

        Those of the store are its own, and name it.
        """
        try:
            yield
        except StorageError:
            raise
        except NoAnswerError as error:
            raise TrackingError(str(error)) from error
        except Exception as error:
            raise TrackingError(f"MLflow at {self._shown}: {_cause(error)}") from error


def _digest(files: Iterable[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return digest.hexdigest()[:32]


def _cause(error: BaseException) -> str:
    return masked(refusal(error) or first_line(error))[:500]
