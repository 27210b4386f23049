"""Whether the head of a Ray cluster is still there, looked at from a thread of its own.

Where it has gone, calls of Ray wait for a minute without a word; then Ray's own code ends the
process that made them, with nothing that a person could go on from.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

from study.run.cluster_port import CONNECT_SECONDS, place_of


class HeadWatch:
    """Says when the head at `address`, as `HOST:PORT`, has not answered for a while.

    After `gone_seconds`, before Ray would end the process, it calls `end` with the exit status.

    Args:
        address: the head's own port.
        say: gets the lines.
        end: ends the process; where it returns, that is left to Ray.
        pause_seconds: between two looks.
        said_seconds: without an answer, until the first line.
        gone_seconds: without an answer, until the end.
    """

    def __init__(
        self,
        address: str,
        say: Callable[[str], object],
        end: Callable[[int], object],
        *,
        pause_seconds: float = 5.0,
        said_seconds: float = 15.0,
        gone_seconds: float = 45.0,
    ) -> None:
        self._address, self._say, self._end = address, say, end
        self._pause, self._limits = pause_seconds, (said_seconds, gone_seconds)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="head", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._over.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _watch(self) -> None:
        said_after, gone_after = self._limits
        answered, said = time.monotonic(), False
        while not self._over.wait(self._pause):
            if self._answers():
                if said:
                    self._say(f"the Ray cluster at {self._address} answers again")
                answered, said = time.monotonic(), False
                continue
            silent = time.monotonic() - answered
            if silent >= gone_after:
                self._say(
                    f"error: the Ray cluster at {self._address} has gone ({silent:.0f} s without "
                    "an answer): this run ends; all that is trained is in the store, and the same "
                    "command goes on from the last checkpoints where a cluster is"
                )
                self._end(1)
                return
            if silent >= said_after and not said:
                said = True
                self._say(
                    f"warning: the Ray cluster at {self._address} does not answer; this run ends "
                    f"where it does not for {gone_after:.0f} s"
                )

    def _answers(self) -> bool:
        place = place_of(self._address)
        assert place is not None, self._address
        try:
            with socket.create_connection(place, CONNECT_SECONDS):
                return True
        except OSError:
            return False
