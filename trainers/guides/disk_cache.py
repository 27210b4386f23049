"""The guide's cache in the store: built once, memory-mapped by all who are guided by it.

<store>/guide_cache/<guide id>/<key>/cache.json    the files below, their sizes and checksums;
                                                   written last
                                     <name>.bin    one array, row-major, little-endian
                                     lease.json    only while a process builds it

Processes of one machine share the pages of these files. In a bucket nothing can be mapped: there,
as without a store, every process has its own in memory, of the same bits.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
import uuid
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainers.conditions.cache_form import Cache
from trainers.conditions.condition import Condition, guide_id
from trainers.guides.cached_features import Allocate, Arrays, fill, opened
from trainers.guides.features import Cached, NoCache
from trainers.guides.frozen import FrozenGuide
from trainers.store.folder import Folder, StorageError
from trainers.store.lease import Lease, LeasedError
from trainers.store.store import Store
from trainers.tasks.batches import mask_of

_WAIT_SECONDS = 0.2
_CHECKED_AT_A_TIME = 2**26
_INDEX = "cache.json"

Build = Callable[[Allocate], None]


class CacheInputs(NamedTuple):
    """What a guide sees of the training examples: inputs (N, *shape), made where they are needed.

    A guide holds one cache of each `kind`; `of` is what tells inputs of one kind apart.
    """

    kind: str
    make: Callable[[], Tensor]
    of: str | None = None

    @property
    def name(self) -> str:
        """Kind and what tells apart."""
        return self.kind if self.of is None else f"{self.kind} of {self.of}"


def cached_for(
    guide: FrozenGuide, condition: Condition, seed: int, inputs: CacheInputs, store: str | None
) -> Cached | None:
    """What is cached of a guide for a condition; None where the spec has no cache."""
    guidance = condition.guidance
    assert guidance is not None
    cache = guidance.cache
    if cache is None:
        return None
    if cache.form == "live":
        return NoCache()
    facts = _facts(guide, condition, cache, inputs)
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    # One of each kind is held: what is in memory is large, and noise differs by target.
    known = guide.cached.get(inputs.kind)
    if known is not None and known[0] == key:
        return known[1]

    def build(allocate: Allocate) -> None:
        mask = mask_of(guide.task, guide.task.train.inputs)
        fill(guide, inputs.make(), mask, guidance.rows, cache, allocate)

    folder = None if store is None else Store(store).root / "guide_cache"
    if folder is None or not folder.is_local or guide.device.type != "cpu":
        arrays = _in_memory(build, guide.device)
    else:
        arrays = mapped(folder / guide_id(condition, seed) / key, build)
    kept = opened(cache, arrays, guide.taps)
    guide.cached[inputs.kind] = key, kept
    return kept


def _facts(
    guide: FrozenGuide, condition: Condition, cache: Cache, inputs: CacheInputs
) -> dict[str, Any]:
    """Beside the guide's id, all that decides the bytes of a cache on one type of machine."""
    assert condition.guidance is not None
    # Came later: of guides in float32, what is kept stays valid.
    precision = {} if guide.precision == "float32" else {"precision": guide.precision}
    return precision | {
        "form": cache.form,
        "dtype": cache.dtype,
        "rows": condition.guidance.rows if cache.form == "gram" else None,
        "taps": guide.taps,
        "inputs": inputs.name,
        "batch_norm": condition.guidance.guide.batch_norm,
        "data": guide.task.fingerprint,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def _in_memory(build: Build, device: torch.device) -> Arrays:
    arrays: dict[str, Tensor] = {}

    def allocate(name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        # Filled under inference mode, read by training.
        with torch.inference_mode(False):
            arrays[name] = torch.empty(tuple(shape), dtype=dtype, device=device)
        return arrays[name]

    build(allocate)
    return arrays


def mapped(folder: Folder, build: Build) -> Arrays:
    """The arrays of a local folder, mapped; built first where they are missing or damaged.

    Of several processes that ask at once one builds, the others wait for it.
    """
    while True:
        arrays = _load(folder)
        if arrays is not None:
            return arrays
        try:
            with Lease(folder) as lease:
                # Of several that took it at once, the last to write it has it: by now it is known.
                time.sleep(_WAIT_SECONDS)
                lease.check()
                # Another may have built it between the look and the lease.
                arrays = _load(folder)
                if arrays is None:
                    _build(folder, build, lease)
        except LeasedError:
            time.sleep(_WAIT_SECONDS)


def _build(folder: Folder, build: Build, lease: Lease) -> None:
    files: dict[str, Any] = {}
    written: dict[str, Path] = {}
    root = Path(folder.uri)
    for left in root.glob(".*"):
        # Of a process that was killed while it built this, and of its size.
        left.unlink(missing_ok=True)

    def allocate(name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        temporary = root / f".{name}.{uuid.uuid4().hex}"
        written[name] = temporary
        files[name] = {"shape": list(shape), "dtype": str(dtype).removeprefix("torch.")}
        # Space is taken now: a mapped file that meets a full disk kills its process.
        with temporary.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, math.prod(shape) * dtype.itemsize))
        return _map(temporary, shape, dtype, write=True)

    try:
        build(allocate)
        for name, temporary in written.items():
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            files[name] |= {"bytes": temporary.stat().st_size, "crc32": _checksum(temporary)}
        lease.check()
        for name, temporary in written.items():
            temporary.replace(root / f"{name}.bin")
        folder.write(_INDEX, json.dumps({"files": files}, indent=1).encode())
    except OSError as error:
        raise StorageError(f"cannot write the guide's cache {folder.uri}: {error}") from error
    finally:
        for temporary in written.values():
            temporary.unlink(missing_ok=True)


def _load(folder: Folder) -> Arrays | None:
    """The arrays of a folder; None, with a warning where they are damaged, if there are none."""
    if not folder.exists(_INDEX):
        return None
    try:
        files: Mapping[str, Any] = json.loads(folder.read(_INDEX))["files"]
        return {name: _checked(Path(folder.uri, f"{name}.bin"), e) for name, e in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        warnings.warn(f"guide cache {folder.uri} is rebuilt: {error}", stacklevel=2)
        folder.remove(_INDEX)
        return None


def _checked(path: Path, entry: Mapping[str, Any]) -> Tensor:
    if path.stat().st_size != entry["bytes"]:
        raise ValueError(f"{path.name} is truncated")
    if _checksum(path) != entry["crc32"]:
        raise ValueError(f"{path.name} is damaged")
    return _map(path, entry["shape"], getattr(torch, entry["dtype"]), write=False)


def _map(path: Path, shape: Sequence[int], dtype: torch.dtype, *, write: bool) -> Tensor:
    # Unless `write`, the mapping is private: nothing that is done to it reaches the file.
    with torch.inference_mode(False):
        flat = torch.from_file(os.fspath(path), shared=write, size=math.prod(shape), dtype=dtype)
        return flat.reshape(tuple(shape))


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while part := file.read(_CHECKED_AT_A_TIME):
            value = zlib.crc32(part, value)
    return value
