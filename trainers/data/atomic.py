"""Files and folders that appear whole: a reader finds the old one or the new one, never a part."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replaced(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A path beside `path`; the file or folder that is made there takes its place in the end.

    Nothing is left of it where the block raises. Of several processes that do this at once, one
    prevails. A file that is `durable` is on the disk before it has its name.
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


def _replace_folder(path: Path, new: Path) -> None:
    old = new.with_name(f"{new.name}.old")
    with suppress(FileNotFoundError):
        # Those who have mapped its files keep them.
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
