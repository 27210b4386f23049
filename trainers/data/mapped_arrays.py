"""Arrays in files that the processes of a machine map, and a record of what these must be.

<folder>/manifest.json    facts, and shapes, types and checksums of the arrays beside it
         <name>.npy
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import DTypeLike

from trainers.data import atomic

MANIFEST = "manifest.json"


class Mapped(NamedTuple):
    """Arrays by name, mapped from files, and the facts that were noted with them.

    The mapping is private: nothing that is done to an array reaches its file.
    """

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]


class Writer:
    """A folder of arrays in the making."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.arrays: dict[str, np.ndarray] = {}

    def new(self, name: str, shape: Sequence[int], dtype: DTypeLike) -> np.ndarray:
        """An array to be filled, of a file that is mapped. Raises OSError where it has no room."""
        path = self._folder / f"{name}.npy"
        array: np.ndarray = open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=tuple(shape))
        # Space is taken now: a mapped file that meets a full disk kills its process.
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        self.arrays[name] = array
        return array


@contextmanager
def written(folder: Path, facts: Mapping[str, Any]) -> Iterator[Writer]:
    """What is filled inside takes the place of `folder`: a reader finds all of it or nothing."""
    with atomic.replaced(folder) as temporary:
        temporary.mkdir()
        writer = Writer(temporary)
        yield writer
        files = {name: _described(array) for name, array in writer.arrays.items()}
        manifest = json.dumps({"facts": facts, "files": files}, indent=1)
        (temporary / MANIFEST).write_text(manifest, encoding="utf-8")


def load(folder: Path) -> Mapped | None:
    """The arrays of a folder; None where there are none. Raises ValueError where one is damaged."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        files = manifest["files"].items()
        arrays = {name: _checked(folder / f"{name}.npy", entry) for name, entry in files}
        return Mapped(arrays, manifest["facts"])
    except (OSError, EOFError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder} is damaged: {error}") from error


def _checked(path: Path, entry: Mapping[str, Any]) -> np.ndarray:
    array: np.ndarray = np.load(path, mmap_mode="c", allow_pickle=False)
    # Of what is mapped: the file of this name may be another one by now.
    if _described(array) != entry:
        raise ValueError(f"{path} is damaged")
    return array


def _described(array: np.ndarray) -> dict[str, Any]:
    return {"shape": list(array.shape), "dtype": array.dtype.str, "crc32": zlib.crc32(array.data)}
