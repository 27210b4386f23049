"""Needs of a Ray on this machine alone: a short path for sockets, a place for its token, an end."""

from __future__ import annotations

import os
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from study.errors import SpecError

_OWN = "RAY_TMPDIR"
_SHORT = "/tmp"
#: Bytes left for the folder: Linux allows a socket's path 107, and Ray's longest name takes these.
MAX_BYTES = 107 - len("/ray/session_2026-01-31_12-00-00_000000_4194304/sockets/plasma_store")


_LOOK_SECONDS = 0.02


@contextmanager
def ended_at_once() -> Iterator[None]:
    """Inside, processes of this one that are asked to end, and cannot hear it, are killed.

    Ray's do not see SIGTERM (see `RaySession`); at its end Ray sends it to one after the other, and
    waits a second for each before it kills it. Where Linux does not tell, it waits.
    """
    over = threading.Event()
    thread = threading.Thread(target=_kill_the_deaf, args=(over,), name="ray's end", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _kill_the_deaf(over: threading.Event) -> None:
    while not over.wait(_LOOK_SECONDS):
        for child in psutil.Process().children():
            if _is_asked_to_end(child.pid):
                with suppress(psutil.Error):
                    child.kill()


def _is_asked_to_end(number: int) -> bool:
    """Whether SIGTERM waits for a process that has it blocked."""
    with suppress(OSError):
        for line in Path(f"/proc/{number}/status").read_text().splitlines():
            name, _, mask = line.partition(":")
            if name == "ShdPnd":
                return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)
    return False


def temporary_folder() -> str | None:
    """The folder for Ray's sockets and logs; None where Ray's own default will do.

    Raises SpecError where no folder will do.
    """
    name = _OWN if _OWN in os.environ else "TMPDIR"
    folder = os.environ.get(name, _SHORT)
    fault = _fault(folder)
    if fault is None:
        return None
    if name != _OWN and _fault(_SHORT) is None:
        return f"{_SHORT}/ray"
    raise SpecError(
        f"{name}: {folder} {fault}; set {_OWN} to a folder that can be written, with a path of "
        f"{MAX_BYTES} bytes or less, or use --local"
    )


def _fault(folder: str) -> str | None:
    if len(os.fsencode(folder)) > MAX_BYTES:
        return "is too long for the sockets that Ray makes below it"
    return None if _takes_files(Path(folder)) else "cannot be written"


def missing_token() -> str | None:
    """A token for Ray's processes; None where Ray has one already or can keep its own."""
    if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"} & os.environ.keys():
        return None
    folder = Path.home() / ".ray"
    if (folder / "auth_token").exists() or _takes_files(folder):
        return None
    return secrets.token_hex(32)


def _takes_files(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
