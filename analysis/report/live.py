"""Writes the report of a study that runs: `python -m analysis.report.live STUDY STORE`.

Each line of the standard input is the state of the run (`Facts`), as JSON, and asks for a page from
what the store has by then; the newest line counts. The end of the input ends the process. It takes
one part in five of a core at most: where a page takes long, the next is written later.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from types import FrameType
from typing import NoReturn

from analysis.report.facts import Facts
from trainers.secrets import masked

#: Seconds of rest for each second of work.
_REST = 4.0
#: Nothing else waits for a page.
_NICENESS = 10


class Newest:
    """The newest of some lines, which a thread of its own reads."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines, self._over = lines, False
        self._line: str | None = None
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def take(self) -> str | None:
        """Wait for a line that was not taken yet; None after the last one."""
        with self._changed:
            self._changed.wait_for(lambda: self._line is not None or self._over)
            line, self._line = self._line, None
            return line

    def rest(self, seconds: float) -> None:
        """Wait for some time, no longer than to the end of the lines."""
        with self._changed:
            self._changed.wait_for(lambda: self._over, seconds)

    def _read(self) -> None:
        for line in self._lines:
            with self._changed:
                self._line = line
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()


def main() -> None:
    """Write a page for each line of the standard input, until it ends."""
    signal.signal(signal.SIGTERM, _end)
    os.nice(_NICENESS)
    study, store = sys.argv[1:]
    said: set[str] = set()
    newest = Newest(sys.stdin)
    while (line := newest.take()) is not None:
        started = time.monotonic()
        try:
            _write(study, store, Facts.of(json.loads(line)))
        except Exception as error:
            # The run goes on without a page, and the next page may succeed.
            text = masked(f"warning: no page was written: {type(error).__name__}: {error}")
            if text not in said:
                said.add(text)
                print(text, file=sys.stderr, flush=True)
        newest.rest(_REST * (time.monotonic() - started))


def _write(study: str, store: str, facts: Facts) -> None:
    from analysis.report.page import save
    from analysis.report.tables import StudyTables
    from analysis.tables import current

    save(StudyTables(study, store, current(study, store=store)), facts)


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)


if __name__ == "__main__":
    main()
