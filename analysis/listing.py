"""Whether the files of a study are those that its tables were made of, without reading them.

To read how ten thousand replicates ended takes seconds. A listing tells it in a fraction: names,
sizes, inodes and times of change, which no program sets. `<store>/studies/<study>/listing.json` has
a digest of the listing and the digest of what the tables follow from. Where the two match, both
are as they were; else the files are read.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from analysis.code_version import code_version
from analysis.contract import (
    ALIGNMENTS,
    FAILURE,
    GUIDE_TAPS,
    LISTING,
    MLFLOW_RUNS,
    PLAN,
    PROVENANCE,
    REPLICATE_TABLES,
    RESULT,
    SPEC,
)
from analysis.encoded_tables import EncodedTables, unchanged
from analysis.parquet_files import StorePath, filesystem_of, write
from analysis.schema import SCHEMA_VERSION

_OF_STUDY = (PLAN, SPEC, ALIGNMENTS, GUIDE_TAPS, MLFLOW_RUNS)
_OF_REPLICATE = frozenset((RESULT, FAILURE, PROVENANCE, *REPLICATE_TABLES))
#: Seconds after which a file that is changed once more has another time of change for certain.
SETTLED_SECONDS = 2.0


def listed(study: str, store: StorePath) -> str | None:
    """Digest of a listing of all files that a study's tables are made of, and of our version.

    None where a listing tells too little: in a bucket, without a plan, or where a file changed so
    lately that it could change again without another time.
    """
    filesystem, root = filesystem_of(store)
    if not isinstance(filesystem, LocalFileSystem):
        return None
    latest = time.time_ns() - int(SETTLED_SECONDS * 1e9)
    digest = hashlib.sha256(f"{SCHEMA_VERSION} {code_version()}".encode())
    try:
        for path, status in _files(Path(root), study):
            if status.st_ctime_ns > latest:
                return None
            facts = (status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
            digest.update(f"{path} {facts}\n".encode())
    except (OSError, ValueError, pa.ArrowException):
        return None
    return digest.hexdigest()


def _files(root: Path, study: str) -> Iterator[tuple[str, os.stat_result]]:
    """Files of a study and of its replicates; OSError or ArrowException without a whole plan."""
    folder = root / "studies" / study
    column = pq.read_table(folder / PLAN, columns=["replicate_id"])["replicate_id"]
    for name in _OF_STUDY:
        with suppress(FileNotFoundError):
            yield name, (folder / name).stat()
    replicates = f"{root}/replicates"
    for identifier in pc.unique(column).to_pylist():
        with suppress(FileNotFoundError), os.scandir(f"{replicates}/{identifier}") as entries:
            there = sorted((e for e in entries if e.name in _OF_REPLICATE), key=lambda e: e.name)
            for entry in there:
                yield f"{identifier}/{entry.name}", entry.stat()


def as_noted(study: str, store: StorePath, listing: str | None) -> EncodedTables | None:
    """The tables of a study, where they are whole and were noted with this listing; else None."""
    if listing is None:
        return None
    place = Path(filesystem_of(store)[1], "studies", study, LISTING)
    try:
        content = json.loads(place.read_bytes())
        inputs = str(content["inputs"]) if content["listing"] == listing else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if inputs is None else unchanged(study, store, inputs)


def note(study: str, store: StorePath, listing: str | None, inputs: str) -> None:
    """Note what tables follow from; does nothing without a listing, or in a read-only store."""
    if listing is not None:
        content = json.dumps({"listing": listing, "inputs": inputs})
        with suppress(OSError):
            write(store, f"studies/{study}/{LISTING}", content.encode())
