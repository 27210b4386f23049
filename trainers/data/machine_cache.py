"""Cache that the processes of a machine share: prepared splits, indexes and digests of files.

<cache root>/splits/<key>/        prepared splits, a folder of `mapped_arrays`
             indexes/<key>/       indexes of large folders, likewise
             mlflow/<version>/    MLflow's empty database, likewise
             digests.json         digests of files that were read before, by path

The cache root is `ARCHPRIOR_CACHE`, else `archprior` in the user's cache, which by default also
holds the data root. All of the above may be deleted at any time, and is made again. If the cache
cannot be written, every process has its own copy in memory, of the same bits.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from trainers.data import atomic, mapped_arrays
from trainers.data.mapped_arrays import Mapped

#: The variable that names the cache root.
VARIABLE = "ARCHPRIOR_CACHE"

_DIGESTS = "digests.json"
_digests: dict[str, list[Any]] = {}


def user_folder(variable: str, *parts: str) -> Path:
    """The folder that an environment variable names, else `parts` in the user's cache.

    The user's cache is `XDG_CACHE_HOME`, else `~/.cache`.
    """
    named = os.environ.get(variable)
    if named:
        return Path(named).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", *parts)


def root() -> Path:
    """The cache root."""
    return user_folder(VARIABLE, "archprior")


def key_of(facts: Mapping[str, Any]) -> str:
    """Key of an entry that is a function of JSON `facts`: 16 hex digits of their SHA-256."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def load(kind: str, key: str) -> Mapped | None:
    """The arrays under a key; None if there are none, or they are damaged."""
    try:
        return mapped_arrays.load(root() / kind / key)
    except (OSError, ValueError):
        return None


def save(kind: str, key: str, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Write arrays under a key, replacing the entry; does nothing if the cache cannot be written.

    A reader finds all arrays or none. If several processes write at once, one of them wins. What
    killed processes left beside the entry is removed, a day after its last change.
    """
    with suppress(OSError):
        atomic.remove_abandoned(root() / kind)
    with suppress(OSError), mapped_arrays.written(root() / kind / key, facts) as writer:
        for name, array in arrays.items():
            writer.new(name, array.shape, array.dtype)[...] = array


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
    # If two processes write at once, the digests of one are lost, and are computed again.
    with suppress(OSError), atomic.replaced(root() / _DIGESTS) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
