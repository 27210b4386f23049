"""A trial's work: replicates in turn; the failure of one does not stop the others."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from trainers import tasks
from trainers.conditions.condition import Condition
from trainers.conditions.encoding import from_json, to_json
from trainers.conditions.ids import replicate_id
from trainers.guides.pool import GuidePool, TrialPool
from trainers.messages import Ended, EndStatus, Report, Warned, silent
from trainers.parallel.workers import ALONE, BrokenGroupError, Workers
from trainers.runtime import native_crashes
from trainers.store import checkpoint, pointer
from trainers.store.checkpoint import EACH_REPORT, CheckpointEvery
from trainers.store.folder import StorageError
from trainers.store.lease import Lease, LeasedError, holder
from trainers.store.store import MAX_STARTS, CorruptError, Replicate, StalledError, Store
from trainers.training.saving import Saver, StopRequestedError
from trainers.training.train import follow, train_held

if TYPE_CHECKING:
    from trainers.comparison import Sides

#: Most damaged replicates that one training discards: the replicate itself and its guide.
_DAMAGED_AT_MOST = 2


@dataclass(frozen=True, kw_only=True)
class TrialContext:
    """Store, reports and settings of a trial's replicates.

    `run` identifies one driver's run of a study, in which starts are counted (see
    `Replicate.count_start`). `provenance` is stored with each replicate. With `debug` exceptions
    are not caught, so that a debugger stops where they were raised. Of several `workers` the leader
    calls `run_trial`, the others `follow_trial`. `guides` is the pool that the replicates share.
    `stop` is called before each replicate, at each report and checkpoint, and every few seconds.
    `comparisons` are arguments of `comparison.make`, by id of each replicate of them: they are made
    when the last of these has finished. `retry_seconds` lie between attempts at replicates on which
    another process works. `best_validation` holds the ids of replicates whose test split is also
    scored at their best validation. With `awaits_guides` a replicate whose guide is not finished
    waits for it, whoever trains it: the guide must be one of the replicates, too. `traced` is the
    id of the replicate, if any, of which some steps are profiled.
    """

    store: str
    report: Report
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    provenance: Mapping[str, str] = field(default_factory=dict)
    debug: bool = False
    workers: Workers = ALONE
    stop: Callable[[], bool] = lambda: False
    checkpoint_every: CheckpointEvery = EACH_REPORT
    guides: TrialPool = field(default_factory=TrialPool)
    comparisons: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    retry_seconds: float = 1.0
    best_validation: Container[str] = ()
    awaits_guides: bool = False
    traced: str | None = None


class ForeignDataError(RuntimeError):
    """A worker has other data than the driver that sent it work."""


class ForeignStoreError(RuntimeError):
    """A worker sees another store at the path that its driver has sent."""


def check_store(store: Store, run: str, *, seconds: float = 30.0) -> None:
    """Raise ForeignStoreError unless the driver's run is announced in the store as seen from here.

    Waits `seconds` for it: network file systems may show a file late.
    """
    deadline = time.monotonic() + seconds
    while not store.announced(run):
        if time.monotonic() >= deadline:
            raise ForeignStoreError(
                f"on {socket.gethostname()} the store {store.uri} is not the one that the driver "
                "writes to: what is trained there would be lost; give all nodes the same folder "
                "(a network file system), or a bucket (s3://...)"
            )
        time.sleep(0.5)


def check_data(replicates: Iterable[tuple[Condition, int, str]]) -> None:
    """Download missing data, and check that each (condition, seed) has the id of the driver's data.

    Raises FileNotFoundError if data is missing, ForeignDataError if it differs.
    """
    for condition, seed, identifier in replicates:
        task = tasks.build(condition.task)
        task.check_data()
        if replicate_id(condition, seed) != identifier:
            raise ForeignDataError(
                f"this worker's data of task {condition.task.name} ({task.data}) is not what its "
                "driver has planned with: give all nodes the same files"
            )


def run_trial(replicates: Sequence[tuple[Condition, int]], context: TrialContext) -> None:
    """Train every (condition, seed) that the store does not hold finished or failed.

    `context.report` gets the reports of `train`, and `Ended` when a replicate ends, `blocked` if
    its trained guide is not in the store. Replicates on which another process works come last, and
    are waited for. Raises StorageError if the store cannot be written, BrokenGroupError if a worker
    is lost, StopRequestedError if `context.stop` returns true.
    """
    waiting, comparisons = list(replicates), _Comparisons(context)
    try:
        while waiting:
            held = _round(waiting, context, comparisons)
            if len(held) == len(waiting):
                time.sleep(context.retry_seconds)
            waiting = held
    finally:
        context.workers.order(None)


def _round(
    waiting: Sequence[tuple[Condition, int]], context: TrialContext, comparisons: _Comparisons
) -> list[tuple[Condition, int]]:
    """Try each replicate once; returns those on which another process works."""
    held = []
    for condition, seed in waiting:
        if context.stop():
            raise StopRequestedError
        replicate = Store(context.store).replicate_of(condition, seed)
        ended_before = replicate.folder.exists("result.json")
        try:
            ended = _one(condition, seed, replicate, context)
        except LeasedError:
            held.append((condition, seed))
            continue
        context.report(ended)
        # Not if it had finished before: a process may have died of its comparisons.
        if ended.status == "finished" and not ended_before:
            comparisons.make(replicate.id)
    return held


class _Comparisons:
    """The comparisons of a trial, and the networks that it holds for the next ones."""

    def __init__(self, context: TrialContext) -> None:
        self._context = context
        self._sides: Sides | None = None

    def make(self, replicate_id: str) -> None:
        """Make the comparisons of a finished replicate; those that fail are skipped."""
        from trainers.comparison import Sides, make

        if self._sides is None:
            self._sides = Sides()
        for arguments in self._context.comparisons.get(replicate_id, ()):
            if self._context.stop():
                return
            # Most often the other network is not finished yet. When all replicates have ended, the
            # driver makes missing comparisons, and reports failures.
            with suppress(Exception, SystemExit):
                make(self._context.store, **arguments, sides=self._sides)


def _one(condition: Condition, seed: int, replicate: Replicate, context: TrialContext) -> Ended:
    def ended(status: EndStatus, error: str | None = None) -> Ended:
        return Ended(replicate_id=replicate.id, status=status, error=error)

    try:
        cause = _known_failure(replicate, context)
        if cause is not None:
            return ended("failed", cause)
        obstacle = _obstacle(condition, seed, context)
        if obstacle is not None:
            return ended("blocked", obstacle)
        _train(condition, seed, replicate, context)
    except (LeasedError, StorageError, BrokenGroupError, StopRequestedError):
        raise
    except StalledError as error:
        return ended("missing", str(error))
    except (Exception, SystemExit) as error:
        # Not where another process has taken over: then that one says how it ends.
        with Lease(replicate.folder):
            replicate.fail(error)
        if context.debug:
            raise
        return ended("failed", f"{type(error).__name__}: {error}")
    return ended("finished")


def _known_failure(replicate: Replicate, context: TrialContext) -> str | None:
    try:
        failure = replicate.failure()
    except CorruptError as error:
        _discard(error, replicate, context)
        return None
    return None if failure is None else failure.error


def _obstacle(condition: Condition, seed: int, context: TrialContext) -> str | None:
    """Reason why a replicate cannot be trained, or None; LeasedError while a guide is awaited."""
    for each in condition.guide_conditions:
        guide = Store(context.store).replicate_of(each, seed)
        found = _unfinished(guide, context)
        if found is not None:
            return found
    return None


def _unfinished(guide: Replicate, context: TrialContext) -> str | None:
    """Reason why a guide cannot be used, or None; LeasedError while it is trained or awaited."""
    try:
        if guide.result() is not None:
            return None
        failure = guide.failure()
        awaited = context.awaits_guides and failure is None and not _is_stalled(guide, context.run)
    except CorruptError:
        # Training the replicate finds the damage, and retrains the guide.
        return None
    if failure is not None:
        return f"guide {guide.id} failed: {failure.error}"
    if awaited or holder(guide.folder) is not None:
        raise LeasedError(f"guide {guide.id} is trained elsewhere, or will be")
    return f"guide {guide.id} is not finished"


def _is_stalled(replicate: Replicate, run: str) -> bool:
    """Whether no process of a run starts a replicate any more; raises CorruptError."""
    return replicate.starts(run, pointer.saved_step(replicate)).count >= MAX_STARTS


def _train(condition: Condition, seed: int, replicate: Replicate, context: TrialContext) -> None:
    damaged = 0
    while True:
        try:
            _attempt(condition, seed, replicate, context)
        except CorruptError as error:
            damaged += 1
            if damaged > _DAMAGED_AT_MOST:
                raise
            _discard(error, replicate, context)
        else:
            return


def _attempt(condition: Condition, seed: int, replicate: Replicate, context: TrialContext) -> None:
    if replicate.result() is not None:
        # A process that was killed right after the result has left them.
        checkpoint.drop_all_but_final(replicate)
        return
    store, workers = Store(context.store), context.workers
    if workers.world_size > 1:
        # A guide that was discarded is trained first, by all workers together.
        quiet = replace(context, report=silent)
        for guide in condition.guide_conditions:
            _attempt(guide, seed, store.replicate_of(guide, seed), quiet)
    with Lease(replicate.folder) as lease:
        if replicate.result() is not None:
            # Another process has finished it since, and returned its lease.
            return
        replicate.count_start(context.run, pointer.saved_step(replicate))
        replicate.note_provenance(context.provenance)
        pool = context.guides.begin()
        number = context.guides.number
        workers.order(
            {"condition": to_json(condition), "seed": seed, "guides": number, "run": context.run}
        )
        saver = Saver(replicate, context.checkpoint_every, lease.check, context.stop, workers)
        with native_crashes.recorded(replicate.crash_name(context.run, workers.rank)):
            train_held(
                condition, seed, store, context.report, saver, pool, workers,
                best_validation=replicate.id in context.best_validation,
                trace=replicate.id == context.traced,
            )  # fmt: skip
        context.guides.completed()
        replicate.folder.remove_file("starts.json")


def follow_trial(store: str, workers: Workers) -> None:
    """Train the replicates that the leader orders, until its last order; raises BrokenGroupError.

    Any other exception ends a replicate on every worker, and the leader records it.
    """
    guides = TrialPool()
    for order in workers.orders():
        pool = guides.numbered(order["guides"])
        condition, seed = from_json(order["condition"]), order["seed"]
        _follow(condition, seed, Store(store), pool, workers, order["run"])


def _follow(
    condition: Condition, seed: int, store: Store, guides: GuidePool, workers: Workers, run: str
) -> None:
    try:
        name = store.replicate_of(condition, seed).crash_name(run, workers.rank)
        with native_crashes.recorded(name):
            follow(condition, seed, store, guides, workers)
    except BrokenGroupError:
        raise
    except (Exception, SystemExit):
        return


def _discard(error: CorruptError, replicate: Replicate, context: TrialContext) -> None:
    damaged = Store(context.store).replicate(error.replicate_id)
    context.report(Warned(replicate_id=replicate.id, text=f"{error}: retrained"))
    with Lease(damaged.folder):
        damaged.discard()
