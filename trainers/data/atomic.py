"""Atomic writes of files and folders: a reader finds the old one or the new one, never a part."""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Seconds after which a temporary belongs to a process that was killed.
ABANDONED_SECONDS = 24 * 3600
#: Names of temporaries, and of folders that are replaced.
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}(\.old)?")


@contextmanager
def replaced(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`; the file or folder written there replaces `path` at the end.

    If the block raises, the temporary is removed. If several processes do this at once, one of them
    wins. A `durable` file is synced to disk before it has its name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield temporary
        if temporary.is_dir():
            _replace_folder(path, temporary)
        else:
            if durable:
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        _remove(temporary)


def is_temporary(name: str) -> bool:
    """Whether a file or folder has the name of a temporary, or of a folder that is replaced."""
    return _TEMPORARY.fullmatch(name) is not None


def remove_abandoned(folder: Path) -> None:
    """Remove temporaries in `folder` that killed processes left, a day after their last change.

    Raises OSError if the folder cannot be read.
    """
    before = time.time() - ABANDONED_SECONDS
    for path in folder.iterdir():
        if not is_temporary(path.name):
            continue
        # Another process may be removing it too.
        with suppress(OSError):
            parts = [path, *path.iterdir()] if path.is_dir() else [path]
            if max(part.stat().st_mtime for part in parts) < before:
                _remove(path)


def _replace_folder(path: Path, new: Path) -> None:
    old = new.with_name(f"{new.name}.old")
    with suppress(FileNotFoundError):
        # Processes that have mapped its files keep them.
        path.rename(old)
    try:
        new.rename(path)
    finally:
        _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
