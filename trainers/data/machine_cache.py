"""What a machine makes once for all its processes: prepared splits, and digests of files.

<cache root>/splits/<key>/manifest.json    facts, and shapes and checksums of the arrays beside it
                          <name>.npy
             digests.json                  of files that were read before, by path
             indexes/<key>/                as `splits`: what large folders hold
             mlflow/<version>/             as `splits`: MLflow's database while it is new

The cache root is `ARCHPRIOR_CACHE`, else `archprior` in the user's cache. Nothing else is there but
the data root, by default: all of the above may be deleted at any time, and is made again. Where
nothing can be written, every process has its own in memory, of the same bits.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

#: The variable that names the cache root.
VARIABLE = "ARCHPRIOR_CACHE"

_MANIFEST, _DIGESTS = "manifest.json", "digests.json"
_digests: dict[str, list[Any]] = {}


class Kept(NamedTuple):
    """Arrays by name, mapped from files, and the facts that were noted with them.

    The mapping is private: nothing that is done to an array reaches its file.
    """

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]


def user_folder(variable: str, *parts: str) -> Path:
    """The folder that a variable names, else one of the user's cache (`XDG_CACHE_HOME`)."""
    named = os.environ.get(variable)
    if named:
        return Path(named).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", *parts)


def root() -> Path:
    """The cache root."""
    return user_folder(VARIABLE, "archprior")


def key_of(facts: Mapping[str, Any]) -> str:
    """The name under which what follows from JSON facts is kept."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def load(kind: str, key: str) -> Kept | None:
    """What is kept under a key; None where that is nothing, or not whole."""
    folder = root() / kind / key
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
        arrays = {
            name: _checked(folder / f"{name}.npy", entry)
            for name, entry in manifest["files"].items()
        }
        return Kept(arrays, manifest["facts"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def save(kind: str, key: str, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Keep arrays under a key, in the place of what is there; nothing where it cannot be written.

    A reader finds all of it or nothing. Of several processes that do this at once, one prevails.
    """
    with suppress(OSError):
        target = root() / kind / key
        temporary = target.with_name(f".{key}.{uuid.uuid4().hex}")
        temporary.mkdir(parents=True)
        try:
            files = {}
            for name, array in arrays.items():
                whole = np.ascontiguousarray(array)
                np.save(temporary / f"{name}.npy", whole, allow_pickle=False)
                files[name] = _described(whole)
            manifest = json.dumps({"facts": facts, "files": files}, indent=1)
            (temporary / _MANIFEST).write_text(manifest, encoding="utf-8")
            _put(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _put(folder: Path, target: Path) -> None:
    old = folder.with_name(f"{folder.name}.old")
    with suppress(FileNotFoundError):
        # Those who have mapped its files keep them.
        target.rename(old)
    try:
        folder.rename(target)
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _checked(path: Path, entry: Mapping[str, Any]) -> np.ndarray:
    array: np.ndarray = np.load(path, mmap_mode="c", allow_pickle=False)
    # Of what is mapped: the file of this name may be another one by now.
    if _described(array) != entry:
        raise ValueError(f"{path} is damaged")
    return array


def _described(array: np.ndarray) -> dict[str, Any]:
    return {"shape": list(array.shape), "dtype": array.dtype.str, "crc32": zlib.crc32(array.data)}


def remembered(path: Path, compute: Callable[[Path], str]) -> str:
    """`compute(path)`, a digest of a file, computed once for its path, size and time of change."""
    name, status = f"{compute.__name__} {path}", path.stat()
    state = [status.st_size, status.st_mtime_ns]
    known = _digests.get(name)
    if known is None or known[:2] != state:
        known = _read_digests().get(name)
    if known is None or known[:2] != state:
        known = [*state, compute(path)]
        _write_digests(_read_digests() | {name: known})
    _digests[name] = known
    return str(known[2])


def _read_digests() -> dict[str, list[Any]]:
    try:
        content = json.loads((root() / _DIGESTS).read_bytes())
        return {name: [int(size), int(time), str(digest)] for name, (size, time, digest) in
                content.items()}  # fmt: skip
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write_digests(content: Mapping[str, list[Any]]) -> None:
    # Two processes at once: what one has noted may be lost, and is computed again.
    with suppress(OSError):
        root().mkdir(parents=True, exist_ok=True)
        temporary = root() / f".{_DIGESTS}.{uuid.uuid4().hex}"
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        temporary.replace(root() / _DIGESTS)
