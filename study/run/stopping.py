"""Stops the trials of an interrupted run, on whichever machines they are."""

from __future__ import annotations

import time
from contextlib import suppress

from study.plan.progress import Progress
from study.run.interrupts import Interrupts
from trainers.store.lease import holder

_LOOK_SECONDS = 0.5
#: Looks that must find no lease: between two replicates a worker holds none either.
_LOOKS = 2


class Stopping:
    """Asks the trials of a run to stop, through the store, and notices when they have."""

    def __init__(self, progress: Progress, run: str, interrupts: Interrupts) -> None:
        self._progress, self._run, self._interrupts = progress, run, interrupts
        self._asked = False
        self._idle, self._last = 0, 0.0

    def look(self) -> None:
        """Ask and look; raises Interruption when nothing trains or the time of grace is over."""
        if not self._asked:
            self._asked = True
            # Where the store takes no file, trials are ended when their time is over.
            with suppress(OSError):
                self._progress.store.request_stop(self._run)
        now = time.monotonic()
        if now - self._last < _LOOK_SECONDS:
            return
        self._last = now
        self._idle = 0 if self._at_work() else self._idle + 1
        if self._idle == _LOOKS or self._interrupts.late:
            self._interrupts.check()

    def end(self) -> None:
        """Remove the request from the store, when no trial is left to read it."""
        if self._asked:
            with suppress(OSError):
                self._progress.store.forget_stop(self._run)

    def _at_work(self) -> bool:
        store = self._progress.store.at_once()
        try:
            begun = store.known()
            return any(
                holder(store.replicate(replicate.id).folder) is not None
                for replicate in self._progress.todo
                if replicate.id in begun
            )
        except OSError:
            # A store that is away does not say.
            return True
