"""Crashes of native code: the signal that ended a process, and the line that was running.

Nobody but the parent of a process learns how it ended, and the parent of a Ray worker does not say.
So Python's `faulthandler` writes of segmentation faults, aborts, illegal instructions and the like
into a file of this machine. SIGKILL, of the kernel or of a user, leaves nothing there.
"""

from __future__ import annotations

import faulthandler
import glob
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

_CURRENT = "Current thread"


@contextmanager
def recorded(name: str) -> Iterator[None]:
    """Record a crash of this process under `name`, which no other process uses meanwhile.

    A machine whose temporary folder cannot be written records none.
    """
    enabled, path = faulthandler.is_enabled(), _path(name)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        file = path.open("w")
    except OSError:
        yield
        return
    with file:
        faulthandler.enable(file)
        try:
            yield
        finally:
            faulthandler.disable()
            if enabled:
                # Of whoever had enabled it, only the file is forgotten.
                faulthandler.enable(sys.__stderr__ or sys.stderr)
            path.unlink(missing_ok=True)


def take(prefix: str) -> str | None:
    """A crash recorded on this machine under a name with `prefix`; None if there is none.

    All of that prefix are forgotten. It is its kind, and the Python line that was running: `Fatal
    Python error: Aborted: File "a.py", line 3 in f`.
    """
    lines: list[str] = []
    for path in sorted(_path(prefix).parent.glob(f"{glob.escape(prefix)}*")):
        with suppress(OSError):
            lines = lines or path.read_text(errors="replace").splitlines()
            path.unlink()
    if not lines:
        return None
    running = [after for line, after in pairwise(lines) if _CURRENT in line]
    return ": ".join([lines[0], *(line.strip() for line in running[:1])])


def _path(name: str) -> Path:
    return Path(tempfile.gettempdir(), f"archprior-crashes-{os.getuid()}", name)
