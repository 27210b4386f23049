"""What a machine makes once for all its processes: prepared splits, and digests of files.

<cache root>/splits/<key>/        a folder of `mapped_arrays`
             indexes/<key>/       the same: what large folders hold
             mlflow/<version>/    the same: MLflow's database while it is new
             digests.json         of files that were read before, by path

The cache root is `ARCHPRIOR_CACHE`, else `archprior` in the user's cache. Nothing else is there but
the data root, by default: all of the above may be deleted at any time, and is made again. Where
nothing can be written, every process has its own in memory, of the same bits.
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


def load(kind: str, key: str) -> Mapped | None:
    """What is kept under a key; None where that is nothing, or not whole."""
    try:
        return mapped_arrays.load(root() / kind / key)
    except (OSError, ValueError):
        return None


def save(kind: str, key: str, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Keep arrays under a key, in the place of what is there; nothing where it cannot be written.

    A reader finds all of it or nothing. Of several processes that do this at once, one prevails.
    """
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
    # Two processes at once: what one has noted may be lost, and is computed again.
    with suppress(OSError), atomic.replaced(root() / _DIGESTS) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
