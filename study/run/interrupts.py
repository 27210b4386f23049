"""Signals that ask a run to end: at a checkpoint after the first, at once after the second.

Installed by the command line alone: in a notebook or a program, Ctrl-C stays a KeyboardInterrupt.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

#: Longest time that training goes on to its next checkpoint, unless another is given; then it is
#: ended where it is.
GRACE_SECONDS = 60
#: A timer of 0 seconds is none.
_LEAST_SECONDS = 0.01
#: `timeout` and service managers send a process and its group one signal each, or two kinds.
_ECHO_SECONDS = 1.0
_LOOK_SECONDS = 0.2
#: Rest until an Interruption that Python swallowed is raised again.
_AGAIN_SECONDS = 0.05
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Said at the first signal while trials train.
STOPPING = "stopping at the next checkpoint; press Ctrl-C again to end at once"
_SHOW_CURSOR = b"\x1b[?25h"


class Interruption(KeyboardInterrupt):
    """A signal has ended a run; `message` says how far it got, `left` what the next run does."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.message = "interrupted"
        self.left = "starts, or goes on from the last checkpoints"


class Interrupts:
    """Handlers of SIGINT, SIGTERM and SIGHUP inside `with`; without it no signal is handled.

    The first one raises Interruption at once, but inside `polite` and `held` it only makes
    `requested` true. The second one ends the process. Signals that were ignored before stay so
    (`nohup`). Training goes on to its next checkpoint for `grace_seconds` at most.
    """

    def __init__(self, grace_seconds: float = GRACE_SECONDS) -> None:
        self.grace_seconds = grace_seconds
        self._signum: int | None = None
        self._since = 0.0
        self._polite = self._held = self._hasty = self._shown = self._swallowed = False
        self._before: dict[int, Any] = {}
        self._hook_before = sys.unraisablehook
        #: Whether Interruption was raised at an arbitrary point: later errors may follow from it.
        self.broke_in = False

    def __enter__(self) -> Self:
        self._signum, self.broke_in, self._swallowed = None, False, False
        if threading.current_thread() is threading.main_thread():
            for signum in _SIGNALS:
                if signal.getsignal(signum) not in (signal.SIG_IGN, None):
                    self._before[signum] = signal.signal(signum, self._take)
            self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._ring)
            self._hook_before, sys.unraisablehook = sys.unraisablehook, self._swallow
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._before:
            signal.setitimer(signal.ITIMER_REAL, 0)
            sys.unraisablehook = self._hook_before
        while self._before:
            signal.signal(*self._before.popitem())

    def retake(self) -> None:
        """Handle signals again: Ray, when it starts, prints stack traces at SIGTERM."""
        for signum in _SIGNALS:
            if signum in self._before:
                signal.signal(signum, self._take)

    def end(self, status: int) -> None:
        """End the process at once, from any thread, where signals are handled here.

        In a notebook or a program nothing is ended.
        """
        if self._before:
            if os.isatty(1):
                _write(1, _SHOW_CURSOR)
            os._exit(status)

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self._signum is not None

    @property
    def status(self) -> int:
        """The exit status of a command that was interrupted."""
        return 128 + (self._signum or signal.SIGINT)

    @property
    def late(self) -> bool:
        """Whether the signal came more than `grace_seconds` ago."""
        return self.requested and time.monotonic() - self._since > self.grace_seconds

    def check(self) -> None:
        """Raise Interruption where a signal has come."""
        if self._signum is not None:
            raise Interruption(self._signum)

    def result(self, future: Future[T]) -> T:
        """The result of a future; raises Interruption where a signal comes first."""
        while True:
            self.check()
            with suppress(TimeoutError):
                return future.result(timeout=_LOOK_SECONDS)
            if future.done():
                return future.result()

    @contextmanager
    def polite(self, *, shown: bool = False) -> Iterator[None]:
        """Inside, the first signal interrupts nothing: the work polls `requested`.

        `STOPPING` is written to standard error then, unless the work shows it on the terminal
        (`shown`): a display that redraws itself would erase it.
        """
        self._polite, self._shown = True, shown
        try:
            yield
        finally:
            self._polite = self._shown = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, nothing is interrupted: modules in C swallow exceptions while they are imported.

        Interruption is raised at the end.
        """
        self._held = True
        try:
            yield
        finally:
            self._held = False
        self.check()

    @contextmanager
    def hasty(self) -> Iterator[None]:
        """Inside, Interruption is raised where the work goes on for too long after a signal."""
        self._hasty = True
        try:
            yield
        finally:
            self._hasty = False

    def _take(self, signum: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.requested:
            if signum != signal.SIGINT and now - self._since < _ECHO_SECONDS:
                return
            self.end(128 + signum)
        self._signum, self._since = signum, now
        if self._held:
            return
        if not self._polite:
            self.broke_in = True
            raise Interruption(signum)
        self._start_grace()
        # Not `print`: the signal may have come in the middle of another one.
        for stream in (1, 2):
            is_said = stream == 2 and not (self._shown and os.isatty(2))
            _write(stream, f"\n{STOPPING}\n".encode() if is_said else b"")

    def _start_grace(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, max(self.grace_seconds, _LEAST_SECONDS))

    def _ring(self, _signum: int, _frame: FrameType | None) -> None:
        swallowed, self._swallowed = self._swallowed, False
        if self._hasty or (swallowed and not self._polite and not self._held):
            self.check()
        elif swallowed and self._polite:
            self._start_grace()

    def _swallow(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Let no Interruption be lost in a finaliser, whose exceptions Python only prints."""
        if isinstance(unraisable.exc_value, Interruption):
            self._swallowed = True
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        else:
            self._hook_before(unraisable)


def _write(stream: int, text: bytes) -> None:
    """Write to a standard stream; one whose terminal is gone is redirected to the null device."""
    try:
        os.write(stream, text)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream)
        os.close(nowhere)
