"""Saving of a run: its history at each report and checkpoints, and in the end all its files."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from trainers.parallel.workers import ALONE, Workers
from trainers.store import checkpoint
from trainers.store.checkpoint import EACH_REPORT, Checkpoint, CheckpointEvery
from trainers.store.folder import Written
from trainers.store.records import ResultRecord
from trainers.store.store import HISTORY, WEIGHTS, Replicate
from trainers.store.tables import History
from trainers.training.log import Log

#: Seconds between calls of `stop` at steps without a report.
ASK_SECONDS = 2.0


class StopRequestedError(Exception):
    """Request to end training; the last checkpoint, if there is a store, has the current step."""


@dataclass
class Saver:
    """Saves one replicate; nothing if `replicate` is None.

    `check` is called before each write, and raises if nothing may be written. `stop` is called at
    each report; by one worker alone at each checkpoint, too, and every few seconds. If it returns
    true, training ends after a checkpoint. Of several workers only the leader writes.
    """

    replicate: Replicate | None = None
    every: CheckpointEvery = EACH_REPORT
    check: Callable[[], object] = lambda: None
    stop: Callable[[], bool] = lambda: False
    workers: Workers = ALONE
    _saved: float = field(default_factory=time.monotonic)
    _asked: float = field(default_factory=time.monotonic)

    def load(self) -> tuple[Checkpoint | None, History | None]:
        """The last checkpoint and the history, which may be longer; raises CorruptError."""
        if self.replicate is None:
            return None, None
        history = self.replicate.history()
        return checkpoint.load(self.replicate, history), history

    def after(
        self, step: int, log: Log, snapshot: Callable[[], Checkpoint], *, reported: bool
    ) -> None:
        """Save what is due after a step, then report; raises StopRequestedError if to stop."""
        now = time.monotonic()
        due = self.every.due(step, now - self._saved, reported=reported)
        stopping = self._to_stop(now, reported=reported, due=due)
        if self.replicate is not None and self.workers.is_main and (reported or due or stopping):
            self.check()
            if log.pending:
                self.replicate.save_history(log.history)
            if due or stopping:
                checkpoint.save(self.replicate, snapshot(), log.history, self.check)
                self._saved = time.monotonic()
        if reported or due or stopping:
            log.flush()
        if stopping:
            raise StopRequestedError

    def finish(
        self,
        history: History,
        tables: Mapping[str, bytes],
        network: nn.Module,
        record: Callable[[Mapping[str, Written]], ResultRecord],
    ) -> None:
        """Write the files of a finished replicate, and last its `record` with their digests."""
        assert self.replicate is not None
        files = {HISTORY: self.replicate.save_history(history)}
        files |= {name: self.replicate.folder.write(name, data) for name, data in tables.items()}
        files[WEIGHTS] = checkpoint.save_final(self.replicate, network)
        self.check()
        self.replicate.finish(record(files))
        checkpoint.drop_all_but_final(self.replicate)

    def _to_stop(self, now: float, *, reported: bool, due: bool) -> bool:
        # Several workers meet at reports alone: elsewhere the others would wait for this one.
        alone = self.workers.world_size == 1
        if not reported and not (alone and (due or now - self._asked >= ASK_SECONDS)):
            return False
        self._asked = now
        return self.stop()
