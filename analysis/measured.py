"""Tables of what replicates measured, by replicate: from their files, or from earlier tables.

A finished replicate does not change. So the tables `history`, `predictions` and `alignment` of a
study say of each replicate which file its rows came from, by its digest; rows of the same files are
taken from there, and others are read. All goes through memory in parts of some replicates, each a
row group of the new table.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.code_version import code_version
from analysis.errors import DamagedFileError, first_line
from analysis.schema import conform, schema

#: Tables that replicates write.
TABLES = ("history", "predictions", "alignment")
#: Replicates in a row group.
REPLICATES_AT_ONCE = 200
_SOURCES = b"archprior.sources"

#: Tables of one replicate by name, or one table by replicate.
Tables = Mapping[str, pa.Table]


class Source(NamedTuple):
    """A replicate that has ended, and a key of the content of each of its files, by table."""

    replicate_id: str
    keys: Mapping[str, str]


class _Place(NamedTuple):
    """Where the rows of a replicate stand: their key, row group, offset in it, and number."""

    key: str
    group: int
    offset: int
    length: int


class Kept:
    """Rows of replicates in the tables of an earlier analysis by the same code.

    Args:
        contents: those of the tables' files, by name; without them, nothing is kept. Nor is it
            where one of them is absent, damaged, or made by other code.
    """

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._files: dict[str, pq.ParquetFile] = {}
        self._places: dict[str, dict[str, _Place]] = {name: {} for name in TABLES}
        try:
            files = {name: _opened(contents[name]) for name in TABLES}
            self._places |= {name: _places(file) for name, file in files.items()}
            self._files = files
        except (KeyError, ValueError, OSError, pa.ArrowException):
            self._places = {name: {} for name in TABLES}
        # The next replicate is in the same row groups, most often.
        self._group = lru_cache(2 * len(TABLES))(self._read)

    def keys(self, replicate_id: str) -> dict[str, str]:
        """Keys of the files that a replicate's rows came from, by table; empty without any."""
        known = {name: self._places[name].get(replicate_id) for name in TABLES}
        return {name: place.key for name, place in known.items() if place is not None}

    def tables(self, source: Source) -> dict[str, pa.Table] | None:
        """The tables of a replicate; None where they are of other files, or damaged."""
        if not source.keys or self.keys(source.replicate_id) != source.keys:
            return None
        try:
            return dict(self._found(source))
        except (ValueError, OSError, pa.ArrowException):
            return None

    def _found(self, source: Source) -> Iterator[tuple[str, pa.Table]]:
        for name in source.keys:
            place = self._places[name][source.replicate_id]
            if not place.length:
                continue
            rows = self._group(name, place.group).slice(place.offset, place.length)
            if pc.unique(rows["replicate_id"]).to_pylist() != [source.replicate_id]:
                raise ValueError(f"{name} has other rows than it says")
            yield name, rows

    def _read(self, name: str, group: int) -> pa.Table:
        return conform(self._files[name].read_row_group(group, use_threads=False), schema(name))


def _opened(content: bytes) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)


def _places(file: pq.ParquetFile) -> dict[str, _Place]:
    """Places of a table's replicates; raises ValueError where it does not say them for us."""
    told = json.loads((file.metadata.metadata or {}).get(_SOURCES, b"{}"))
    if told.get("code") != code_version():
        raise ValueError("the table was made by other code")
    places: dict[str, _Place] = {}
    for group, entries in enumerate(told["groups"]):
        offset = 0
        for identifier, key, length in entries:
            places[identifier] = _Place(key, group, offset, length)
            offset += length
        if offset != file.metadata.row_group(group).num_rows:
            raise ValueError("the table has other rows than it says")
    return places


def gather(
    sources: Sequence[Source],
    read: Callable[[Sequence[Source]], Iterable[Tables]],
    kept: Kept,
) -> Iterator[tuple[Sequence[Source], list[Tables]]]:
    """Tables of replicates in parts, in their order: kept ones, and those that `read` gives."""
    for start in range(0, len(sources), REPLICATES_AT_ONCE):
        part = sources[start : start + REPLICATES_AT_ONCE]
        found: dict[str, Tables] = {}
        for source in part:
            tables = kept.tables(source)
            if tables is not None:
                found[source.replicate_id] = tables
        new = [source for source in part if source.replicate_id not in found]
        names = [source.replicate_id for source in new]
        made = list(read(new))
        written = {
            table: {n: each[table] for n, each in zip(names, made, strict=True) if table in each}
            for table in TABLES
        }
        rows = {table: _conformed(each, table) for table, each in written.items()}
        found |= {n: {table: each[n] for table, each in rows.items() if n in each} for n in names}
        yield part, [found[source.replicate_id] for source in part]


def _conformed(written: Tables, name: str) -> Tables:
    """One table of some replicates, by id, each with our columns; raises as `conformed`."""
    if not written:
        return {}
    try:
        whole = conformed(pa.concat_tables(written.values()), name, name)
    except (DamagedFileError, pa.ArrowException):
        # One of them is damaged, or they are of several versions.
        return {
            replicate_id: conformed(table, name, f"replicates/{replicate_id}/{name}.parquet")
            for replicate_id, table in written.items()
        }
    ends = accumulate(table.num_rows for table in written.values())
    return {
        replicate_id: whole.slice(end - table.num_rows, table.num_rows)
        for end, (replicate_id, table) in zip(ends, written.items(), strict=True)
    }


def conformed(table: pa.Table, name: str, source: str) -> pa.Table:
    """A table that a run wrote with our columns; DamagedFileError where it has others."""
    try:
        made = conform(table, schema(name))
        for field in schema(name):
            if not field.nullable and made[field.name].null_count:
                raise ValueError(f"values of {field.name} are missing")
    except (ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise DamagedFileError(
            f"{source} is damaged ({first_line(error)}): archprior run SPEC makes it anew"
        ) from error
    return made


class Writer:
    """Writes one table, a row group for each part of the replicates, with their sources."""

    def __init__(self, name: str, metadata: Mapping[bytes, bytes]) -> None:
        self._name, self._schema = name, schema(name)
        self._buffer, self._groups = io.BytesIO(), list[list[Any]]()
        told = self._schema.with_metadata(dict(metadata))
        self._writer = pq.ParquetWriter(
            self._buffer, told, compression="zstd", write_page_checksum=True
        )

    def add(
        self,
        sources: Sequence[Source],
        tables: Sequence[Tables],
        complete: Callable[[Sequence[str], pa.Table], pa.Table],
    ) -> None:
        """Add the rows of replicates; `complete` fills the columns that they do not write.

        It gets the replicate of each row.
        """
        entries, rows, names = list[Any](), list[pa.Table](), list[str]()
        for source, found in zip(sources, tables, strict=True):
            table = found.get(self._name)
            if table is not None:
                rows.append(table)
                names += [source.replicate_id] * table.num_rows
            if self._name in source.keys:
                length = 0 if table is None else table.num_rows
                entries.append([source.replicate_id, source.keys[self._name], length])
        self._groups.append(entries)
        # Whether a column may lack values is the file's word, until `append` has it as ours.
        whole = pa.concat_tables(rows, promote_options="default") if rows else None
        self.append(self._schema.empty_table() if whole is None else complete(names, whole))

    def append(self, rows: pa.Table) -> None:
        """Add rows that are of no replicate's files, as a row group."""
        table = _without_nans(rows).cast(self._schema)
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))

    def close(self) -> bytes:
        """The content of the table's file."""
        told = json.dumps({"code": code_version(), "groups": self._groups}, separators=(",", ":"))
        self._writer.add_key_value_metadata({_SOURCES: told.encode()})
        self._writer.close()
        return self._buffer.getvalue()


def _without_nans(table: pa.Table) -> pa.Table:
    """A missing number is null in tables."""
    for index, column in enumerate(table.schema):
        if pa.types.is_floating(column.type):
            values = table[column.name]
            known = pc.if_else(pc.is_nan(values), pa.scalar(None, column.type), values)
            table = table.set_column(index, column, known)
    return table
