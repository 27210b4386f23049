"""Reads a bundle from hands that need not be trusted: nothing is taken that was not looked at.

A name that leads out of the store, a link, a file twice or one that is no part of a bundle is
refused before anything is unpacked; each file is read up to its listed size and no further, and
must have its listed digest.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis import parquet_files
from analysis.contract import FAILURE, PLAN, RESULT, SPEC
from analysis.errors import UserError
from study.bundle.layout import MANIFEST, REPLICATE_FILES, Manifest, is_allowed
from study.errors import SpecError
from study.spec import strict_yaml
from trainers.store.records import FailureRecord, ResultRecord

#: Most of what one bundle may hold.
MAX_FILES, MAX_MANIFEST_BYTES, MAX_ROWS = 2_000_000, 512 * 2**20, 500_000_000
_MAX_JSON_BYTES = 16 * 2**20
_BLOCK = 2**20
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Bundle:
    """An open bundle whose list of files was checked."""

    def __init__(self, archive: zipfile.ZipFile, source: str, max_bytes: int) -> None:
        self._archive, self.source = archive, source
        entries = {entry.filename: entry for entry in _checked(archive, source)}
        if MANIFEST not in entries:
            raise SpecError(f"{source} is not a bundle of archprior: it has no {MANIFEST}")
        manifest = entries.pop(MANIFEST)
        if manifest.file_size > MAX_MANIFEST_BYTES:
            raise SpecError(f"{source}: {MANIFEST} is larger than any bundle needs")
        self.manifest = Manifest.decode(self._content(manifest, manifest.file_size), source)
        self._entries = entries
        self._check_list(max_bytes)

    def _check_list(self, max_bytes: int) -> None:
        listed = self.manifest.files
        for path in [*listed, *self._entries]:
            if path not in self._entries:
                raise self.refused(path, "is listed and not there")
            if path not in listed:
                raise self.refused(path, f"is not listed in {MANIFEST}")
            if not is_allowed(path):
                raise self.refused(path, "has no place in a bundle")
            if self._entries[path].file_size != listed[path].size:
                raise self.refused(path, "has another size than is listed")
            folder, _, rest = path.partition("/")
            if folder == "studies" and not rest.startswith(f"{self.manifest.study}/"):
                raise self.refused(path, "is of another study")
        total = sum(each.size for each in listed.values())
        if total > max_bytes:
            raise SpecError(
                f"{self.source} unpacks to {total / 2**30:.3g} GiB; --max-gib allows "
                f"{max_bytes / 2**30:.3g}"
            )

    def refused(self, path: str, why: str) -> SpecError:
        """An error about one of its files."""
        return SpecError(f"{self.source}: {path!r:.200} {why}: nothing was imported")

    @property
    def num_bytes(self) -> int:
        """Size of all that it holds, unpacked."""
        return sum(each.size for each in self.manifest.files.values())

    def unpack(self, path: str, to: IO[bytes]) -> None:
        """Copy a file, checked against its listed size and digest. Raises SpecError."""
        digest, left = hashlib.sha256(), self.manifest.files[path].size
        with self._reading(path), self._archive.open(self._entries[path]) as file:
            while block := file.read(min(_BLOCK, left + 1)):
                left -= len(block)
                if left < 0:
                    raise self.refused(path, "has another size than is listed")
                digest.update(block)
                to.write(block)
        if left or digest.hexdigest() != self.manifest.files[path].sha256:
            raise self.refused(path, "is damaged: it is not what was exported")

    def read(self, path: str) -> bytes:
        """The content of a file; see `unpack`."""
        content = io.BytesIO()
        self.unpack(path, content)
        return content.getvalue()

    def _content(self, entry: zipfile.ZipInfo, size: int) -> bytes:
        with self._reading(entry.filename), self._archive.open(entry) as file:
            content = file.read(size + 1)
        if len(content) != size:
            raise self.refused(entry.filename, "is damaged")
        return content

    @contextmanager
    def _reading(self, path: str) -> Iterator[None]:
        """Raise what a damaged zip file raises as SpecError."""
        try:
            yield
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            raise self.refused(path, f"is damaged ({error})") from error
        except Exception as error:
            # zlib's error has no public base class.
            if type(error).__module__ != "zlib":
                raise
            raise self.refused(path, f"is damaged ({error})") from error


@contextmanager
def opened(path: str | os.PathLike[str], max_bytes: int) -> Iterator[Bundle]:
    """Context of a bundle, its list of files checked. Raises SpecError where it is none."""
    try:
        with Path(path).open("rb") as file:
            try:
                archive = zipfile.ZipFile(file)
            except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
                raise SpecError(f"{path} is no zip file, or not a whole one ({error})") from error
            with archive:
                yield Bundle(archive, os.fspath(path), max_bytes)
    except OSError as error:
        if error.filename is None or Path(str(error.filename)) != Path(path):
            raise
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error


def _checked(archive: zipfile.ZipFile, source: str) -> Iterator[zipfile.ZipInfo]:
    """Entries of a zip file; raises SpecError for one that is no plain file, or stands twice."""
    entries = archive.infolist()
    if len(entries) > MAX_FILES:
        raise SpecError(f"{source} has {len(entries)} files; a bundle has {MAX_FILES} at most")
    seen: set[str] = set()
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        problem = None
        if entry.filename in seen:
            problem = "stands twice"
        elif entry.filename.endswith("/") or kind not in (0, stat.S_IFREG):
            problem = "is no plain file"
        elif entry.flag_bits & 1:
            problem = "is encrypted"
        elif entry.compress_type not in _COMPRESSIONS:
            problem = "is compressed in a way that bundles do not use"
        elif entry.filename != MANIFEST and not is_allowed(entry.filename):
            problem = "has no place in a bundle"
        if problem is not None:
            raise SpecError(f"{source}: {entry.filename!r:.200} {problem}: nothing was imported")
        seen.add(entry.filename)
        yield entry


def check_content(bundle: Bundle, path: str, content: Path) -> None:
    """Raise SpecError unless a file of a bundle, unpacked at `content`, is what its name says."""
    name = path.rpartition("/")[2]
    try:
        if name == SPEC:
            strict_yaml.parse(strict_yaml.decode(content.read_bytes(), path), path)
        elif name.endswith(".parquet"):
            _check_table(content)
        elif name.endswith(".json"):
            _check_json(name, content)
    except SpecError:
        raise
    except (ValueError, RecursionError, pa.ArrowException, OSError) as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise bundle.refused(path, f"is damaged ({cause})") from error


def _check_table(content: Path) -> None:
    metadata = pq.read_metadata(content)
    if metadata.num_rows > MAX_ROWS:
        raise ValueError(f"{metadata.num_rows} rows; a table has {MAX_ROWS} at most")


def _check_json(name: str, content: Path) -> None:
    if content.stat().st_size > _MAX_JSON_BYTES:
        raise ValueError("larger than any such file")
    data = content.read_bytes()
    if not isinstance(json.loads(data), dict):
        raise ValueError("no mapping of keys to values")
    if name == RESULT:
        result = ResultRecord.decode(data)
        unknown = {*result.files, *result.absent} - {*REPLICATE_FILES}
        if unknown:
            raise ValueError(f"it lists {sorted(unknown)!r:.200}")
    elif name == FAILURE:
        FailureRecord.decode(data)


def plan_rows(bundle: Bundle, content: Path) -> list[Mapping[str, Any]]:
    """Rows of the plan of a bundle, unpacked at `content`; raises SpecError where it is none.

    Its texts are shown on terminals: control characters in them are refused.
    """
    path = f"studies/{bundle.manifest.study}/{PLAN}"
    try:
        table = pq.ParquetFile(content).read(use_threads=False)
        facts = parquet_files.metadata_of(table, path)
    except (pa.ArrowException, OSError, UserError, ValueError) as error:
        raise bundle.refused(path, f"cannot be read ({error})") from error
    if facts.get("study") != bundle.manifest.study:
        raise bundle.refused(path, "is of another study")
    rows: list[Mapping[str, Any]] = table.to_pylist()
    for row in rows:
        for column, value in row.items():
            if isinstance(value, str) and not value.isprintable():
                raise bundle.refused(path, f"has control characters in {column}")
        if not isinstance(row.get("replicate_id"), str):
            raise bundle.refused(path, "has a row without a replicate")
    return rows
