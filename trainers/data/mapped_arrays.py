"""Folders of arrays that the processes of a machine map, with checksums.

<folder>/manifest.json    facts, and shapes, types and checksums of the arrays
         <name>.npy       an array
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

from trainers.data import atomic, json_mapping

MANIFEST = "manifest.json"


class Mapped(NamedTuple):
    """Arrays by name, mapped from files, and the JSON facts that were written with them.

    The mapping is private: changes of an array do not reach its file.
    """

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]


class Writer:
    """Creates the arrays of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.arrays: dict[str, np.ndarray] = {}

    def new(self, name: str, shape: Sequence[int], dtype: DTypeLike) -> np.ndarray:
        """A new array, mapped from its file, to be filled; raises OSError if the disk is full."""
        path = self._folder / f"{name}.npy"
        array: np.ndarray = open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=tuple(shape))
        # Allocated at once: writing to a mapped file on a full disk kills the process.
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        self.arrays[name] = array
        return array


@contextmanager
def written(folder: Path, facts: Mapping[str, Any]) -> Iterator[Writer]:
    """Write a folder of arrays: those created in the block replace `folder`, all at once."""
    with atomic.replaced(folder) as temporary:
        temporary.mkdir()
        writer = Writer(temporary)
        yield writer
        files = {name: _described(array) for name, array in writer.arrays.items()}
        manifest = json.dumps({"facts": facts, "files": files}, indent=1)
        (temporary / MANIFEST).write_text(manifest, encoding="utf-8")


def load(folder: Path) -> Mapped | None:
    """The arrays of a folder; None if there is no manifest. Raises ValueError if damaged."""
    try:
        manifest = json_mapping.parse((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise ValueError(f"{folder} is damaged: {error}") from error
    try:
        files = manifest["files"].items()
        arrays = {name: _checked(folder / f"{name}.npy", entry) for name, entry in files}
        return Mapped(arrays, manifest["facts"])
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder} is damaged: {error}") from error


def _checked(path: Path, entry: Mapping[str, Any]) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="c", allow_pickle=False)
    except Exception as error:
        # NumPy reads a header with Python's tokenizer, which raises whatever the bytes lead it to.
        raise ValueError(f"{path} is damaged: {error!r}") from error
    # Checks the mapped array, because the file of this name may have been replaced by now.
    if _described(array) != entry:
        raise ValueError(f"{path} is damaged")
    return array


def _described(array: np.ndarray) -> dict[str, Any]:
    return {"shape": list(array.shape), "dtype": array.dtype.str, "crc32": zlib.crc32(array.data)}
