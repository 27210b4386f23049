"""Stops a study that cannot work: when its first replicates fail alike, or a trial says so."""

from __future__ import annotations

import re

from analysis.contract import Role, Status
from study.errors import RunError
from study.plan.progress import Progress
from trainers.messages import Aborted, Ended, Message

#: A study stops when its first replicates, this many, fail with the same error.
ALIKE = 3
_DIVERGED = "DivergedError"


class StoppedError(RunError):
    """The study was stopped; the message says why."""


class CircuitBreaker:
    """Follows the reports of a run; `reason` says why the study must stop, or is None.

    A study that has finished replicates works: it is stopped by `Aborted` messages only. Candidates
    of a search that diverge say nothing about it: their settings may be bad.
    """

    def __init__(self, progress: Progress) -> None:
        self.reason: str | None = None
        self._progress = progress
        self._doubtful = progress.counts()[Status.finished] == 0
        self._old = {i for i, state in progress.states.items() if state.status == Status.failed}
        self._causes: dict[str, str] = {}

    def note(self, message: Message) -> None:
        """Take a trial's message."""
        if isinstance(message, Aborted):
            self.reason = message.error
        if not isinstance(message, Ended):
            return
        if message.status == Status.finished:
            self._doubtful = False
        if (
            not self._doubtful
            or message.status != Status.failed
            or message.replicate_id in self._old
            or self._may_diverge(message)
        ):
            return
        self._causes[message.replicate_id] = str(message.error)
        if len(self._causes) == ALIKE and len({_kind(e) for e in self._causes.values()}) == 1:
            self.reason = f"the first {ALIKE} replicates failed alike: {message.error}"
        self._doubtful = len(self._causes) < ALIKE

    def _may_diverge(self, message: Ended) -> bool:
        replicate = self._progress.by_id.get(message.replicate_id)
        is_candidate = replicate is not None and replicate.role == Role.candidate
        return is_candidate and str(message.error).startswith(_DIVERGED)


def _kind(error: str) -> str:
    """An error message without its numbers, which differ between replicates."""
    return re.sub(r"[0-9.]+(e[+-]?[0-9]+)?", "#", error)
