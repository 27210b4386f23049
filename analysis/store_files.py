"""Files of a store as values: tables, and mappings of JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from analysis.errors import DamagedFileError
from analysis.parquet_files import damage

#: What brings a file of a replicate, or of a study, back.
AGAIN = "archprior run SPEC trains it anew"
WRITTEN_ANEW = "archprior run SPEC writes it anew"


@dataclass(frozen=True)
class StoreFiles:
    """Files of a store, by their paths in it."""

    filesystem: AbstractFileSystem
    root: str

    def table(self, path: str, remedy: str, key: str | None = None) -> pa.Table | None:
        """A Parquet file as a table; None where there is none.

        DamagedFileError where it is none, or not that of the `key` (see `Source.keys`).
        """
        content = self.read(path)
        if content is None:
            return None
        # Of values that are others, Parquet notices nothing.
        if key is not None and hashlib.sha256(content).hexdigest() != key.partition(" ")[0]:
            cause = "not of the digest in result.json"
            raise DamagedFileError(f"{self.root}/{path} is damaged ({cause}): {remedy}")
        with damage(f"{self.root}/{path}", remedy):
            return pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)

    def json(self, path: str, remedy: str = AGAIN) -> dict[str, Any] | None:
        """A JSON file with a mapping; None where there is none."""
        content = self.read(path)
        if content is None:
            return None
        try:
            found: dict[str, Any] = json.loads(content)
            if not isinstance(found, dict):
                raise ValueError(f"it holds a {type(found).__name__}")
        except (ValueError, RecursionError) as error:
            raise DamagedFileError(f"{self.root}/{path} is damaged ({error}): {remedy}") from error
        return found

    def size(self, path: str) -> int | None:
        """Size of a file in bytes; None where there is none."""
        try:
            return Path(self.root, path).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, path: str) -> bytes | None:
        """Content of a file; None where there is none."""
        full = f"{self.root}/{path}"
        try:
            if self.is_local:
                # A fraction of what fsspec takes, and there are ten thousand of them.
                return Path(full).read_bytes()
            content: bytes = self.filesystem.cat_file(full)
        except FileNotFoundError:
            return None
        return content

    @cached_property
    def is_local(self) -> bool:
        """Whether they are files of this machine, and not in a bucket."""
        return isinstance(self.filesystem, LocalFileSystem)
