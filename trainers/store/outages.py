"""Waiting while a bucket does not answer: most outages end, and a study should not for one.

All requests of a process to one file system share its outage: it is said once that the bucket is
away and once that it is back, and the time that is waited counts from the first failed request.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from trainers.errors import UserError, first_line

if TYPE_CHECKING:
    import tenacity

T = TypeVar("T")

#: Environment variable: seconds for which an outage is waited out.
VARIABLE = "ARCHPRIOR_OUTAGE_SECONDS"
OUTAGE_SECONDS = 180.0
#: Seconds without an answer that are not spoken of.
HICCUP_SECONDS = 3.0
_LONGEST_PAUSE = 5.0

#: Its warnings are for the user.
LOGGER = logging.getLogger("archprior.store")

#: Answers of a store, not outages.
ANSWERS = (
    FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError,
    NotImplementedError,
)  # fmt: skip
#: Errors of programs, which come again.
_NO_OUTAGES = (*ANSWERS, TypeError, AttributeError)
#: This machine's own troubles, such as a full disk for a file that is fetched, and refusals.
_OURS = (
    errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG, errno.EFBIG,
    errno.EMSGSIZE, errno.EROFS,
)  # fmt: skip


def seconds_to_wait() -> float:
    """Seconds for which an outage is waited out: `ARCHPRIOR_OUTAGE_SECONDS`, by default 180.

    Raises UserError where the variable is no such number; `inf` is one.
    """
    given = os.environ.get(VARIABLE, "")
    try:
        seconds = float(given or OUTAGE_SECONDS)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise UserError(f"{VARIABLE}: give seconds, 0 or more (got {given!r:.80})")
    return seconds


class Outage:
    """Whether a store answers this process; `name` is for the lines that say so."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._since: float | None = None
        self._is_said = False

    def wait_out(self, ask: Callable[[], T]) -> T:
        """The result of `ask`, which is called again while the store is away.

        Raises its last exception once the store has been away for `seconds_to_wait`, or has not
        taken this one request for as long, whatever it answers to others; while it is away for
        longer, `ask` is called once.
        """
        # Most stores are folders, and this module is imported by every command.
        import tenacity

        limit, failed = seconds_to_wait(), list[float]()

        def over(_state: tenacity.RetryCallState) -> bool:
            failed.append(time.monotonic())
            return max(self.seconds, failed[-1] - failed[0]) >= limit

        asking = tenacity.Retrying(
            retry=tenacity.retry_if_exception(self._is_away),
            stop=over,
            wait=tenacity.wait_exponential(multiplier=0.1, max=_LONGEST_PAUSE)
            + tenacity.wait_random(0, 0.5),
            before_sleep=lambda state: self._say(state, limit),
            reraise=True,
        )
        try:
            found: T = asking(ask)
        except ANSWERS:
            self._answered()
            raise
        self._answered()
        return found

    def _is_away(self, error: BaseException) -> bool:
        if isinstance(error, _NO_OUTAGES) or not isinstance(error, Exception):
            return False
        if isinstance(error, OSError) and error.errno in _OURS:
            return False
        with self._lock:
            if self._since is None:
                self._since = time.monotonic()
        return True

    @property
    def seconds(self) -> float:
        """Seconds since the first request that was not answered; 0 where the last one was."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def _say(self, state: tenacity.RetryCallState, limit: float) -> None:
        with self._lock:
            if self._is_said or self.seconds < HICCUP_SECONDS:
                return
            self._is_said = True
        error = state.outcome.exception() if state.outcome is not None else None
        cause = f" ({type(error).__name__}: {first_line(error)})" if error is not None else ""
        LOGGER.warning(
            "%s does not answer%s: waiting, for %.0f s at most", self._name, cause, limit
        )

    def _answered(self) -> None:
        if self._since is None:
            return
        with self._lock:
            seconds, said = self.seconds, self._is_said
            self._since, self._is_said = None, False
        if said:
            LOGGER.warning("%s answers again, after %.0f s", self._name, seconds)
