"""A disk of a few megabytes that can be filled, where this process may mount one (as root)."""

from __future__ import annotations

import errno
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_BLOCK = bytes(4096)


@contextmanager
def small_disk(folder: Path, num_mib: int = 64) -> Iterator[Path]:
    """Have a file system in memory at a folder, which is empty afterwards."""
    folder.mkdir(exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={num_mib}m", "tmpfs"]
    subprocess.run(["mount", *options, folder], check=True, capture_output=True)
    try:
        yield folder
    finally:
        # Killed processes may still have their files open.
        subprocess.run(["umount", "--lazy", folder], check=True)


@cache
def can_mount() -> bool:
    """Whether this process may mount a file system."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder), 1):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


def fill(folder: Path) -> Path:
    """Take all the space that is left, by a file that may be removed again."""
    path = folder / ".filler"
    try:
        with path.open("wb", buffering=0) as file:
            while True:
                file.write(_BLOCK)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    return path
