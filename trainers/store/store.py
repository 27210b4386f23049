"""The store: one folder per replicate, with all that its training writes; MLflow only mirrors it.

<store>/replicates/<id>/condition.json    the condition and the seed
                        history.parquet   every reported metric with step and timestamp,
                                          written at each report
                        checkpoint/       weights, optimiser, step (see `checkpoint`)
                        predictions.parquet, alignment.parquet
                        provenance.json   the code, versions and host that trained it last
                        starts.json       starts without a new checkpoint, of one run
                        lease.json        only while a process is at work on it (see `lease`)
                        failure.json      only while the replicate counts as failed
                        result.json       written last: the replicate is finished
<store>/ray/                                files of Ray, and
            run-<run>                       only while a driver's run has trials on Ray
            stop-<run>                      only while a driver's run waits for its trials to stop
<store>/profiles/<id>.json.gz               traces of training steps, where asked (`training.trace`)
<store>/weights/                            weights of pretrained guides (see `pretrained`)
<store>/alignments/<target id>-<guide id>/  tables of `comparison.align`, one a measure
            <guide id>-<guide id>/   also those of `comparison.describe`
<store>/studies/<study>/                    spec, plan, tables and page (see `analysis.contract`)
<store>/guide_cache/                        kept features of guides (see `guides.disk_cache`)
"""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Collection, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from trainers.data import json_mapping
from trainers.errors import UserError
from trainers.runtime import native_crashes
from trainers.store.folder import Folder, Written, digest
from trainers.store.lease import LEASE
from trainers.store.listed import listed
from trainers.store.records import FailureRecord, ResultRecord, StartsRecord
from trainers.store.tables import History

# Conditions need PyTorch, whose import takes seconds, and who reads results does without: so
# methods that are about conditions import what knows them.
if TYPE_CHECKING:
    from trainers.conditions.condition import Condition

#: Tables of a finished replicate; `alignment.parquet` only if it is guided.
HISTORY = "history.parquet"
REPLICATE_TABLES = (HISTORY, "predictions.parquet", "alignment.parquet")
WEIGHTS, POINTER = "checkpoint/weights.safetensors", "checkpoint/latest.json"
#: Folder of a store for kept features of guides.
GUIDE_CACHE = "guide_cache"

#: Small files that tell how far a replicate is.
_RECORDS = ("result.json", "failure.json", LEASE, POINTER)

R = TypeVar("R", ResultRecord, FailureRecord, StartsRecord)

#: Most starts of a replicate without a new checkpoint, in one run of a study: those after which its
#: process died by its own fault, and those of any kind.
MAX_FAULTS, MAX_STARTS = 2, 5


class CorruptError(RuntimeError):
    """A file of a replicate is damaged or missing; the message names it."""

    def __init__(self, replicate_id: str, message: str) -> None:
        super().__init__(message)
        self.replicate_id = replicate_id


class CrashedError(RuntimeError):
    """The process died by its own fault whenever the replicate was started from a checkpoint."""


class StalledError(RuntimeError):
    """The replicate was started too often without getting a checkpoint further."""


@dataclass(frozen=True)
class Replicate:
    """A replicate in the store: its id and its folder."""

    id: str
    folder: Folder

    def result(self) -> ResultRecord | None:
        """The record of `result.json`; None while the replicate is not finished.

        Raises CorruptError if it is damaged, or if a file it lists is missing or has another size.
        """
        record = self._record("result.json", ResultRecord)
        if record is not None:
            for name, size in self.folder.sizes_of(record.files).items():
                if size != record.files[name].size:
                    raise self.corrupt(f"{name} is missing or truncated (result.json lists it)")
        return record

    def failure(self) -> FailureRecord | None:
        """The record of `failure.json`, or None; raises CorruptError if it is damaged."""
        return self._record("failure.json", FailureRecord)

    def vouched(self, name: str) -> Written:
        """Size and digest that the result records for a file; FileNotFoundError if it has none."""
        result = self.result()
        if result is not None and name in result.absent:
            raise FileNotFoundError(
                f"{self.folder.uri}/{name}: the study was imported without it (archprior export "
                "study --weights writes it)"
            )
        if result is None or name not in result.files:
            raise FileNotFoundError(f"{self.folder.uri}/{name}")
        return result.files[name]

    def read(self, name: str, result: ResultRecord | None = None) -> bytes:
        """Content of a file that the result lists; raises CorruptError if its digest differs."""
        vouched = self.vouched(name) if result is None else result.files[name]
        content = self.folder.read(name)
        if digest(content) != vouched.digest:
            raise self.corrupt(f"{name} is damaged")
        return content

    def history(self) -> History | None:
        """The reported metrics; None before the first report. Raises CorruptError if damaged."""
        try:
            return History.from_parquet(self.id, self.folder.read(HISTORY))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise self.corrupt(f"{HISTORY} is {error}") from error

    def save_history(self, history: History) -> Written:
        """Write the reported metrics."""
        return self.folder.write(HISTORY, history.to_parquet())

    def corrupt(self, message: str) -> CorruptError:
        """A CorruptError of this replicate; the message begins with the name of a file."""
        return CorruptError(self.id, f"{self.folder.uri}/{message}")

    def begin(self, condition: Condition, seed: int) -> None:
        """Write `condition.json`; pretrained weights that are only evaluated have no seed."""
        from trainers.store import description

        self.folder.write("condition.json", _encode(description.of(condition, seed)))

    def describe_anew(self, condition: Condition, seed: int) -> bool:
        """Write `condition.json` where it is missing or damaged; returns whether it was."""
        from trainers.store import description

        with suppress(FileNotFoundError, CorruptError, UserError):
            found = self.described()
            # A file of an older version lacks fields that were added with a default.
            if self._decoded(found) == condition and description.is_of(found, condition, seed):
                return False
        self.begin(condition, seed)
        return True

    def described(self) -> dict[str, Any]:
        """Content of `condition.json`; raises FileNotFoundError if the replicate never began."""
        content = self._json("condition.json")
        if content is None:
            raise FileNotFoundError(f"{self.folder.uri}/condition.json")
        return content

    def condition(self) -> Condition:
        """The condition that was trained, the entries of its network and task known.

        Raises FileNotFoundError as `described`, and UserError if an entry is of a user's module
        that is not imported, CorruptError if it is damaged; warns if that module has other sources
        now.
        """
        from trainers.store import description

        content = self.described()
        condition = self._decoded(content)
        description.check_imported(self.id, condition, content.get("imports", {}))
        return condition

    def _decoded(self, content: Mapping[str, Any]) -> Condition:
        from trainers.conditions.encoding import from_json

        try:
            return from_json(content)
        except UserError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
            raise self.corrupt(f"condition.json is damaged: {error!r}") from error

    def finish(self, record: ResultRecord) -> None:
        """Write `result.json`, which makes the replicate finished."""
        self.folder.write("result.json", record.encode())

    def fail(self, error: BaseException) -> None:
        """Write `failure.json` with an exception and its traceback."""
        cause = f"{type(error).__name__}: {error}"
        trace = "".join(traceback.format_exception(error))
        record = FailureRecord(error=cause, traceback=trace, time=time.time())
        self.folder.write("failure.json", record.encode())

    def count_start(self, run: str, step: int) -> None:
        """Record that a driver's `run` starts the replicate from the checkpoint of `step`.

        A machine that goes, a preemption and a signal from outside are nobody's fault. Raises
        CrashedError if the process has died `MAX_FAULTS` times by its own fault before the next
        checkpoint, StalledError if it was started `MAX_STARTS` times.
        """
        self.note_crash(run)
        starts = self.starts(run, step)
        if len(starts.faults) >= MAX_FAULTS:
            raise CrashedError(
                f"its process died {len(starts.faults)} times after step {step}: "
                f"{starts.faults[-1]}; `archprior retry` tries again"
            )
        if starts.count >= MAX_STARTS:
            raise StalledError(
                f"it was started {starts.count} times from step {step}, and each time its process "
                "was gone before the next checkpoint: it is left to the next run (checkpoint_every "
                "makes checkpoints more often)"
            )
        self._write_starts(replace(starts, count=starts.count + 1))

    def count_fault(self, run: str, fault: str) -> None:
        """Record the `fault` by which a process of the present start of a driver's `run` died.

        A start has one fault, however many of its processes died.
        """
        starts = self._record("starts.json", StartsRecord)
        if starts is not None and starts.run == run and starts.faulty != starts.count:
            faults = (*starts.faults, fault)
            self._write_starts(replace(starts, faults=faults, faulty=starts.count))

    def note_crash(self, run: str) -> None:
        """Count the crash, if this machine has recorded one, of a process of the present start."""
        crash = native_crashes.take(self._crash_prefix(run))
        if crash is not None:
            self.count_fault(run, crash)

    def is_begun(self, run: str) -> bool:
        """Whether a driver's run has ended it, or has started it last."""
        starts = self._record("starts.json", StartsRecord)
        ended = self.result() is not None or self.failure() is not None
        return ended or (starts is not None and starts.run == run)

    def starts(self, run: str, step: int) -> StartsRecord:
        """The starts from the checkpoint of `step` in a driver's `run`."""
        starts = self._record("starts.json", StartsRecord)
        if starts is None or (starts.run, starts.step) != (run, step):
            return StartsRecord(run=run, step=step)
        return starts

    def _write_starts(self, starts: StartsRecord) -> None:
        self.folder.write("starts.json", starts.encode())

    def crash_name(self, run: str, rank: int) -> str:
        """The name under which a crash of the worker `rank` that trains it in a run is recorded."""
        return f"{self._crash_prefix(run)}{rank}"

    def _crash_prefix(self, run: str) -> str:
        return f"{run}-{self.id}-"

    def note_provenance(self, facts: Mapping[str, str]) -> None:
        """Write the code, versions and host that train it."""
        self.folder.write("provenance.json", _encode(dict(facts)))

    def provenance(self) -> dict[str, str]:
        """Facts that `note_provenance` wrote; empty if there are none, or they are damaged."""
        try:
            return self._json("provenance.json") or {}
        except CorruptError:
            return {}

    def forgive(self) -> None:
        """Remove the failure, so that the replicate is trained again from its last checkpoint."""
        for name in ("starts.json", "failure.json"):
            self.folder.remove_file(name)

    def sweep(self) -> None:
        """Remove what killed processes were writing here; called under a lease."""
        for part in (self.folder, self.folder / "checkpoint"):
            for name in set(part.names(hidden=True)) - set(part.names()):
                if not name.startswith(".lease."):
                    part.remove(name)

    def discard(self) -> None:
        """Remove all files of the replicate except its lease, the result first."""
        self.folder.remove_file("result.json")
        for name in self.folder.names(hidden=True):
            if name != "lease.json":
                self.folder.remove(name)

    def _record(self, name: str, kind: type[R]) -> R | None:
        try:
            return kind.decode(self.folder.read(name))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise self.corrupt(f"{name} is damaged: {error}") from error

    def _json(self, name: str) -> dict[str, Any] | None:
        try:
            return json_mapping.parse(self.folder.read(name))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise self.corrupt(f"{name} is damaged: {error}") from error


class Store:
    """The folder or bucket URI that holds everything a study writes."""

    def __init__(self, uri: str | os.PathLike[str]) -> None:
        self.root = Folder(uri)

    @property
    def uri(self) -> str:
        """Absolute path or URI, valid in another process."""
        return self.root.uri

    def at_once(self) -> Store:
        """The same store, which raises at the first request that is not answered."""
        impatient = copy(self)
        impatient.root = self.root.at_once()
        return impatient

    def replicate(self, identifier: str) -> Replicate:
        """The replicate with this id, whether it exists yet or not."""
        return Replicate(identifier, self.root / "replicates" / identifier)

    def replicate_of(self, condition: Condition, seed: int) -> Replicate:
        """The replicate of a condition and seed."""
        from trainers.conditions.ids import replicate_id

        return self.replicate(replicate_id(condition, seed))

    def announce(self, run: str) -> None:
        """Write that a driver's run is on: a trial that does not see it has another store."""
        self.root.write(_run_file(run), b"")

    def announced(self, run: str) -> bool:
        """Whether a driver's run was announced in this store."""
        return _has(self.root, _run_file(run))

    def withdraw(self, run: str) -> None:
        """Remove what announces a run, once no trial is left to look for it."""
        self.root.at_once().remove_file(_run_file(run))

    def request_stop(self, run: str) -> None:
        """Ask the trials of one driver's run, wherever they are, to stop at the next checkpoint."""
        self.root.at_once().write(_stop_file(run), b"")

    def stop_requested(self, run: str) -> bool:
        """Whether the trials of a run are to stop; False if the store does not answer."""
        try:
            return _has(self.root.at_once(), _stop_file(run))
        except OSError:
            # A store that does not answer raises at the next write.
            return False

    def forget_stop(self, run: str) -> None:
        """Remove the request to stop, once no trial is left to read it."""
        self.root.at_once().remove_file(_stop_file(run))

    def surveyed(self, identifiers: Collection[str]) -> dict[str, Replicate]:
        """Those of these replicates that ever began, by id, as they are at this moment.

        Of a bucket all files are listed, and the small records read many at a time. What it returns
        is to be read only.
        """
        if self.root.is_local:
            return {name: self.replicate(name) for name in self.known() if name in identifiers}
        found = listed(self.root / "replicates", identifiers, _RECORDS)
        return {name: Replicate(name, folder) for name, folder in found.items()}

    def known(self) -> set[str]:
        """Ids of all replicates that ever began."""
        return set((self.root / "replicates").names())


def _has(root: Folder, marker: str) -> bool:
    """Whether there is a small file, by one request: a bucket lists what it does not find."""
    try:
        root.read(marker)
    except FileNotFoundError:
        return False
    return True


def _run_file(run: str) -> str:
    return f"ray/run-{run}"


def _stop_file(run: str) -> str:
    return f"ray/stop-{run}"


def _encode(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True).encode()
