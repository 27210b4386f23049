"""The guide's cache in the store: built once, memory-mapped by all replicates that use the guide.

<store>/guide_cache/<guide id>/<key>/arrays/       a folder of `mapped_arrays`
                                     lease.json    only while a process builds it

Processes of one machine share the pages of these files. Files of a bucket cannot be mapped: then,
as without a store, every process has its own copy in memory, of the same bits.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainers.conditions.cache_form import Cache
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Term
from trainers.conditions.ids import guide_id
from trainers.data import mapped_arrays
from trainers.guides.cached_features import Allocate, Arrays, fill, opened
from trainers.guides.features import Cached, NoCache
from trainers.guides.frozen import FrozenGuide
from trainers.store.folder import Folder, StorageError
from trainers.store.lease import Lease, LeasedError
from trainers.store.store import GUIDE_CACHE, Store
from trainers.tasks.batches import mask_of

_WAIT_SECONDS = 0.2
_ARRAYS = "arrays"

Build = Callable[[Allocate], None]


class CacheInputs(NamedTuple):
    """Guide inputs of the training examples: `make` returns them (N, *shape) when needed.

    A guide holds one cache of each `kind`; `of` distinguishes inputs of the same kind.
    """

    kind: str
    make: Callable[[], Tensor]
    of: str | None = None

    @property
    def name(self) -> str:
        """Name that identifies the inputs: the kind and, if any, `of`."""
        return self.kind if self.of is None else f"{self.kind} of {self.of}"


def cached_for(
    guide: FrozenGuide,
    condition: Condition,
    term: Term,
    seed: int,
    inputs: CacheInputs,
    store: str | None,
) -> Cached | None:
    """The cache of a term's guide, built if it is missing; None if the spec has none."""
    cache = term.cache
    if cache is None:
        return None
    if cache.form == "live":
        return NoCache()
    facts = _facts(guide, term, cache, inputs)
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    # One of each kind is held: caches in memory are large, and noise differs by target.
    known = guide.cached.get(inputs.kind)
    if known is not None and known[0] == key:
        return known[1]

    def build(allocate: Allocate) -> None:
        mask = mask_of(guide.task, guide.task.train.inputs)
        fill(guide, inputs.make(), mask, term.rows, cache, allocate)

    folder = None if store is None else Store(store).root / GUIDE_CACHE
    if folder is None or not folder.is_local or guide.device.type != "cpu":
        arrays = _in_memory(build, guide.device)
    else:
        arrays = mapped(folder / guide_id(condition, term, seed) / key, build)
    cached = opened(cache, arrays, guide.taps)
    guide.cached[inputs.kind] = key, cached
    return cached


def _facts(guide: FrozenGuide, term: Term, cache: Cache, inputs: CacheInputs) -> dict[str, Any]:
    """Everything, beside the guide's id, that decides the bytes of a cache on a type of machine."""
    # A later fact: left out in float32, so that old caches stay valid.
    precision = {} if guide.precision == "float32" else {"precision": guide.precision}
    return precision | {
        "form": cache.form,
        "dtype": cache.dtype,
        "rows": term.rows if cache.form == "gram" else None,
        "taps": guide.taps,
        "inputs": inputs.name,
        "batch_norm": term.guide.batch_norm,
        "data": guide.task.fingerprint,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def _in_memory(build: Build, device: torch.device) -> Arrays:
    arrays: dict[str, Tensor] = {}

    def allocate(name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        # Not an inference tensor, although filled in inference mode: training reads it.
        with torch.inference_mode(False):
            arrays[name] = torch.empty(tuple(shape), dtype=dtype, device=device)
        return arrays[name]

    build(allocate)
    return arrays


def mapped(folder: Folder, build: Build) -> Arrays:
    """The arrays of a local folder, mapped; built first if they are missing or damaged.

    If several processes need them at once, one builds them and the others wait. Raises StorageError
    if they cannot be written.
    """
    while True:
        arrays = _load(folder)
        if arrays is not None:
            return arrays
        try:
            with Lease(folder) as lease:
                # If several took the lease at once, the last to write it holds it by now.
                time.sleep(_WAIT_SECONDS)
                lease.check()
                # Another process may have built the arrays before this one had the lease.
                arrays = _load(folder)
                if arrays is None:
                    _build(folder, build, lease)
        except LeasedError:
            time.sleep(_WAIT_SECONDS)


def _build(folder: Folder, build: Build, lease: Lease) -> None:
    for left in Path(folder.uri).glob(f".{_ARRAYS}.*"):
        # Left by a process that was killed during a build, and as large as the cache.
        shutil.rmtree(left, ignore_errors=True)
    try:
        with mapped_arrays.written(Path(folder.uri, _ARRAYS), {}) as writer:

            def allocate(name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
                return _tensor(writer.new(name, shape, str(dtype).removeprefix("torch.")))

            build(allocate)
            lease.check()
    except OSError as error:
        raise StorageError(f"cannot write the guide's cache {folder.uri}: {error}") from error


def _load(folder: Folder) -> Arrays | None:
    """The arrays of a folder; None if there are none or, with a warning, if they are damaged."""
    place = Path(folder.uri, _ARRAYS)
    try:
        found = mapped_arrays.load(place)
    except (OSError, ValueError) as error:
        warnings.warn(f"guide cache {folder.uri} is rebuilt: {error}", stacklevel=2)
        (place / mapped_arrays.MANIFEST).unlink(missing_ok=True)
        return None
    return found and {name: _tensor(array) for name, array in found.arrays.items()}


def _tensor(array: np.ndarray) -> Tensor:
    # Not an inference tensor, even if made in inference mode: training reads it.
    with torch.inference_mode(False):
        return torch.from_numpy(array)
