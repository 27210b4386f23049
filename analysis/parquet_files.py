"""Tables as Parquet files in a store: written whole, read if of this version or older."""

from __future__ import annotations

import io
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from analysis.contract import ALIGNMENTS, GUIDE_TAPS, PLAN, SPEC
from analysis.errors import DamagedFileError, UserError, first_line, unknown
from analysis.names import check_name
from analysis.schema import SCHEMA_VERSION, SCHEMAS, conform, metrics_of, schema, to_frame

if TYPE_CHECKING:
    import pandas as pd

#: Key of the JSON in a file's schema metadata: schema_version, table, study, created, ...
METADATA_KEY = b"archprior"
#: Files of a study that its tables are made of, which have no schema: they are read as written.
SOURCES = tuple(name.removesuffix(".parquet") for name in (PLAN, ALIGNMENTS, GUIDE_TAPS))

StorePath = str | os.PathLike[str]


def filesystem_of(uri: StorePath) -> tuple[AbstractFileSystem, str]:
    """The file system of a store, and its root there; a URI without a protocol is a local path.

    fsspec would take `a::b` for `a`.
    """
    if "://" in os.fspath(uri):
        filesystem, root = url_to_fs(os.fspath(uri))
        return filesystem, str(root).rstrip("/")
    return LocalFileSystem(), str(Path(os.path.expanduser(uri)).absolute())  # noqa: PTH111


def check_version(metadata: Mapping[str, Any], source: str) -> None:
    """Raise ValueError if a file was written by a version of archprior newer than this one."""
    version = metadata["schema_version"]
    if version > SCHEMA_VERSION:
        raise UserError(
            f"{source} has schema version {version}, this archprior reads up to {SCHEMA_VERSION}: "
            "upgrade archprior to read it"
        )


def metadata_of(table: pa.Table, source: str) -> dict[str, Any]:
    """The metadata that archprior wrote into a file; UserError if none, damaged, or newer."""
    raw = (table.schema.metadata or {}).get(METADATA_KEY)
    if raw is None:
        raise UserError(f"{source} was not written by archprior: it has no metadata of ours")
    try:
        metadata: dict[str, Any] = json.loads(raw)
        check_version(metadata, source)
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedFileError(f"{source} is damaged: its metadata are not ours") from error
    return metadata


@contextmanager
def damage(source: str, remedy: str) -> Iterator[None]:
    """Raise any error of reading a damaged file as DamagedFileError, with the remedy."""
    try:
        yield
    except (
        pa.ArrowException, OSError, yaml.YAMLError, UnicodeDecodeError, RecursionError
    ) as error:  # fmt: skip
        if isinstance(error, FileNotFoundError):
            raise
        cause = first_line(error)
        raise DamagedFileError(f"{source} is damaged ({cause}): {remedy}") from error


def encode(frame: pd.DataFrame, table: str, metadata: Mapping[str, Any]) -> bytes:
    """The frame as the bytes of a Parquet file with the table's schema and this metadata."""
    target = schema(table, metrics_of(frame.columns))
    # pyarrow reads zoned columns in a way that pandas deprecates; the schema adds the zone again.
    zoned = frame.select_dtypes("datetimetz")
    plain = frame.assign(**{str(name): zoned[name].dt.tz_convert(None) for name in zoned})
    content = pa.Table.from_pandas(plain, schema=target, preserve_index=False)
    ours = {**content.schema.metadata, **told(table, metadata)}
    buffer = io.BytesIO()
    pq.write_table(
        content.replace_schema_metadata(ours), buffer, compression="zstd", write_page_checksum=True
    )
    return buffer.getvalue()


def told(table: str, metadata: Mapping[str, Any]) -> dict[bytes, bytes]:
    """Metadata of a table's schema: what its file says of itself."""
    content = {"schema_version": SCHEMA_VERSION, "table": table, **metadata}
    return {METADATA_KEY: json.dumps(content).encode()}


def checked(data: bytes) -> dict[str, Any]:
    """Metadata of a table's file, which is read whole; ValueError or ArrowException if damaged."""
    source = pa.BufferReader(data)
    texts = [field.name for field in pq.read_schema(source) if pa.types.is_string(field.type)]
    file = pq.ParquetFile(source, read_dictionary=texts, page_checksum_verification=True)
    for group in range(file.num_row_groups):
        file.read_row_group(group, use_threads=False)
    found: dict[str, Any] = json.loads((file.schema_arrow.metadata or {}).get(METADATA_KEY, b"{}"))
    return found


def decode(data: bytes, table: str, source: str) -> pd.DataFrame:
    """The frame in a file's bytes; columns that an older version lacks are null.

    Raises ValueError, naming `source`, if the file is not ours or newer than we know.
    """
    if table in SOURCES:
        return _source(data, source)
    with damage(source, "archprior analyze STUDY writes tables anew"):
        content = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    metadata_of(content, source)
    try:
        return to_frame(conform(content, schema(table, metrics_of(content.column_names))))
    except (ValueError, TypeError, KeyError, pa.ArrowException) as error:
        # Columns of our names that are of other types, or stand twice.
        raise DamagedFileError(
            f"{source} is damaged ({first_line(error)}): archprior analyze STUDY writes tables anew"
        ) from error


def _source(data: bytes, source: str) -> pd.DataFrame:
    """The frame in the bytes of a file that tables are made of; `run` wrote it, not `analyze`."""
    with damage(source, "archprior run SPEC writes it anew"):
        content = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
    if METADATA_KEY in (content.schema.metadata or {}):
        metadata_of(content, source)
    return to_frame(content)


def write(store: StorePath, path: str, data: bytes) -> None:
    """Write `data` at `path` in the store, so that a reader sees the old file or the new one."""
    filesystem, root = filesystem_of(store)
    if not isinstance(filesystem, LocalFileSystem):
        filesystem.pipe_file(f"{root}/{path}", data)
        return
    final = Path(root, path)
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_name(f".{final.name}.{uuid.uuid4().hex}")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(final)
    finally:
        partial.unlink(missing_ok=True)


def remove(store: StorePath, path: str) -> None:
    """Remove the file at `path` in the store; nothing where there is none."""
    filesystem, root = filesystem_of(store)
    with suppress(FileNotFoundError):
        filesystem.rm_file(f"{root}/{path}")


def table_path(study: str, table: str) -> str:
    """The path of a table in the store."""
    return f"studies/{study}/{table}.parquet"


def read(store: StorePath, study: str, table: str) -> pd.DataFrame:
    """A study's table, or one of `SOURCES` as it was written.

    Raises ValueError, with what exists, if there is no such study or table.
    """
    check_name(study)
    filesystem, root = filesystem_of(store)
    there = _names(filesystem, f"{root}/studies/{study}", ".parquet")
    tables = [name for name in there if name in SCHEMAS or name in SOURCES]
    if table not in tables:
        studies = _names(filesystem, f"{root}/studies", "")
        if study not in studies:
            raise unknown_study(study, store)
        raise unknown(f"table of study {study!r}:", table, tables)
    path = f"{root}/{table_path(study, table)}"
    return decode(filesystem.cat_file(path), table, path)


def unknown_study(study: str, store: StorePath) -> UserError:
    """The error of a study that a store does not have, or of which it lacks the main files."""
    filesystem, root = filesystem_of(store)
    studies = _names(filesystem, f"{root}/studies", "")
    if study in studies:
        return UserError(
            f"study {study!r}: there is no {PLAN} or no {SPEC} of it in {os.fspath(store)}; "
            "archprior run SPEC writes them anew"
        )
    return unknown(f"study in {os.fspath(store)}:", study, studies)


def contents(store: StorePath, study: str, tables: Iterable[str]) -> dict[str, bytes]:
    """The files of those of a study's tables that the store has, by table."""
    filesystem, root = filesystem_of(store)
    found = {}
    for table in tables:
        with suppress(FileNotFoundError):
            found[table] = filesystem.cat_file(f"{root}/{table_path(study, table)}")
    return found


def read_file(store: StorePath, study: str, name: str) -> bytes | None:
    """A file of a study; None where the store has none."""
    filesystem, root = filesystem_of(store)
    try:
        found: bytes = filesystem.cat_file(f"{root}/studies/{study}/{name}")
    except FileNotFoundError:
        return None
    return found


def read_spec(store: StorePath, study: str) -> Mapping[str, Any]:
    """The content of a study's `spec.yaml`, as data; UserError if there is no such study."""
    check_name(study)
    filesystem, root = filesystem_of(store)
    try:
        path = f"{root}/studies/{study}/spec.yaml"
        with damage(path, "archprior run SPEC writes it anew"):
            content = yaml.safe_load(filesystem.cat_file(path))
    except FileNotFoundError:
        raise unknown_study(study, store) from None
    return content if isinstance(content, Mapping) else {}


def _names(filesystem: Any, folder: str, suffix: str) -> list[str]:
    """Names in a folder that end with `suffix`, without it; hidden files do not count."""
    if not filesystem.isdir(folder):
        return []
    filesystem.invalidate_cache(folder)
    names = [str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in filesystem.ls(folder, False)]
    return [
        name.removesuffix(suffix)
        for name in names
        if name.endswith(suffix) and not name.startswith(".")
    ]
