"""Reads a bundle from hands that need not be trusted: nothing is taken that was not looked at.

A name that leads out of the store, a link, a file twice or one that is no part of a bundle is
refused before anything is unpacked; each file is read up to its listed size and no further, and
must have its listed digest.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from analysis import parquet_files
from analysis.contract import FAILURE, PLAN, PROVENANCE, RESULT, SPEC
from analysis.errors import UserError
from study.bundle.layout import MANIFEST, REPLICATE_FILES, Manifest, is_allowed
from study.errors import SpecError
from study.spec import strict_yaml
from trainers.data import json_mapping
from trainers.errors import first_line
from trainers.store.records import FailureRecord, ResultRecord

#: Most of what one bundle may hold.
MAX_FILES, MAX_MANIFEST_BYTES, MAX_ROWS = 2_000_000, 512 * 2**20, 500_000_000
MAX_PLAN_ROWS = 5_000_000
#: Bytes of a manifest beside its list, and of a file in the list beside its name.
_FACTS_BYTES, _LISTED_BYTES = 2**16, 200
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
        # It is read whole, and a small zip file can hold a large one.
        needed = _FACTS_BYTES + sum(len(name) + _LISTED_BYTES for name in entries)
        if manifest.file_size > min(needed, MAX_MANIFEST_BYTES):
            raise SpecError(f"{source}: {MANIFEST} is larger than any bundle needs")
        self.manifest = Manifest.decode(self._content(manifest, manifest.file_size), source)
        self._entries = entries
        self._check_list(max_bytes)

    def _check_list(self, max_bytes: int) -> None:
        listed = self.manifest.files
        _check_clashes(self.source, self._entries)
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
        for block in self._blocks(path, left):
            left -= len(block)
            if left < 0:
                raise self.refused(path, "has another size than is listed")
            digest.update(block)
            to.write(block)
        if left or digest.hexdigest() != self.manifest.files[path].sha256:
            raise self.refused(path, "is damaged: it is not what was exported")

    def _blocks(self, path: str, size: int) -> Iterator[bytes]:
        """The content of a file in blocks, up to one byte more than `size`."""
        left = size + 1
        with self._reading(path):
            file = self._archive.open(self._entries[path])
        with file:
            while left:
                with self._reading(path):
                    block = file.read(min(_BLOCK, left))
                if not block:
                    return
                left -= len(block)
                yield block

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
        except SpecError:
            raise
        except (
            zipfile.BadZipFile, EOFError, RuntimeError, ValueError, OSError, struct.error
        ) as error:  # fmt: skip
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


def _check_clashes(source: str, paths: Iterable[str]) -> None:
    """Raise SpecError where two paths are one file on some systems, or one is a folder of another.

    Not all file systems tell upper case from lower.
    """
    known: dict[str, str] = {}
    for path in sorted(paths):
        if path.lower() in known:
            raise SpecError(
                f"{source}: {path!r:.200} and {known[path.lower()]!r:.200} are one file on some "
                "systems: nothing was imported"
            )
        known[path.lower()] = path
    for path in known:
        parts = path.split("/")
        for end in range(1, len(parts)):
            if "/".join(parts[:end]) in known:
                raise SpecError(
                    f"{source}: {known['/'.join(parts[:end])]!r:.200} is a file and a folder: "
                    "nothing was imported"
                )


def check_content(bundle: Bundle, path: str, content: Path) -> None:
    """Raise SpecError unless a file of a bundle, unpacked at `content`, is what its name says."""
    name = path.rpartition("/")[2]
    try:
        if name == SPEC:
            strict_yaml.parse(strict_yaml.decode(content.read_bytes(), path), path)
        elif name.endswith(".parquet"):
            _check_table(content, shown=path.startswith("studies/"))
        elif name.endswith(".json"):
            _check_json(name, content)
    except SpecError:
        raise
    except (ValueError, RecursionError, pa.ArrowException, OSError) as error:
        raise bundle.refused(path, f"is damaged ({first_line(error)})") from error


def _check_table(content: Path, *, shown: bool) -> None:
    metadata = pq.read_metadata(content)
    if metadata.num_rows > MAX_ROWS:
        raise ValueError(f"{metadata.num_rows} rows; a table has {MAX_ROWS} at most")
    if shown:
        for column, text in _texts(content):
            # Errors are what a program said, in lines.
            if column != "error" and not _is_plain(text):
                raise ValueError(f"control characters in {column}")


def _texts(content: Path) -> Iterator[tuple[str, str]]:
    """Texts of a table with their columns, each once or a few times; in small memory."""
    schema = pq.read_schema(content)
    for name in schema.names:
        yield "the name of a column", name
    columns = [each.name for each in schema if _is_text(each.type)]
    # Few bytes can hold a long text in each of many rows.
    file = pq.ParquetFile(content, read_dictionary=columns)
    for batch in file.iter_batches(columns=columns, use_threads=False):
        for column, values in zip(batch.schema.names, batch.columns, strict=True):
            encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
            for text in encoded.dictionary.to_pylist():
                if text is not None:
                    yield column, text if isinstance(text, str) else text.decode("utf-8", "replace")


def _is_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(each(inner) for each in (*kinds, *binary))


def _is_plain(text: str) -> bool:
    """Whether a text has no control characters, which a terminal would obey, but lines and tabs."""
    return all(char.isprintable() or char in "\n\t" for char in text)


def _check_json(name: str, content: Path) -> None:
    if content.stat().st_size > _MAX_JSON_BYTES:
        raise ValueError("larger than any such file")
    data = content.read_bytes()
    found = json_mapping.parse(data)
    if name == PROVENANCE:
        for key, value in found.items():
            if not _is_plain(f"{key} {value}"):
                raise ValueError("control characters in it")
    elif name == RESULT:
        result = ResultRecord.decode(data)
        unknown = {*result.files, *result.absent} - {*REPLICATE_FILES}
        if unknown:
            raise ValueError(f"it lists {sorted(unknown)!r:.200}")
    elif name == FAILURE:
        FailureRecord.decode(data)


def check_replicate(bundle: Bundle, identifier: str) -> None:
    """Raise SpecError unless a replicate's result lists the files that the bundle has of it."""
    folder, files = f"replicates/{identifier}", bundle.manifest.files
    if f"{folder}/{RESULT}" not in files:
        return
    result = ResultRecord.decode(bundle.read(f"{folder}/{RESULT}"))
    for name, written in result.files.items():
        path = f"{folder}/{name}"
        if path not in files:
            raise bundle.refused(path, f"is listed in the replicate's {RESULT} and not there")
        if tuple(files[path]) != tuple(written):
            raise bundle.refused(path, f"is not what the replicate's {RESULT} lists")


def planned_ids(bundle: Bundle, content: Path) -> set[str]:
    """Ids in the plan of a bundle, unpacked at `content`; raises SpecError where it is none.

    Its texts are shown on terminals, in lines: control characters in them are refused.
    """
    path = f"studies/{bundle.manifest.study}/{PLAN}"
    try:
        rows = pq.read_metadata(content).num_rows
        if rows > MAX_PLAN_ROWS:
            raise bundle.refused(path, f"has {rows} rows; a plan has {MAX_PLAN_ROWS} at most")
        for column, text in _texts(content):
            if not text.isprintable():
                raise bundle.refused(path, f"has control characters in {column}")
        file = pq.ParquetFile(content, read_dictionary=["replicate_id"])
        table = file.read(columns=["replicate_id"], use_threads=False)
        facts = parquet_files.metadata_of(table, path)
        ids = table.column("replicate_id").unique().to_pylist() if table.column_names else [None]
    except SpecError:
        raise
    except (pa.ArrowException, OSError, UserError, ValueError, KeyError, TypeError) as error:
        raise bundle.refused(path, f"cannot be read ({error})") from error
    if facts.get("study") != bundle.manifest.study:
        raise bundle.refused(path, "is of another study")
    if not all(isinstance(each, str) for each in ids):
        raise bundle.refused(path, "has a row without a replicate")
    return set(ids)
