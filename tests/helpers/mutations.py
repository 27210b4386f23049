"""Strategies of inputs that begin as whole files: bytes changed, JSON reshaped, tables rebuilt.

What they draw makes a content when it is called: Hypothesis keeps the examples that it draws, of
files of half a MiB a GiB of some thousands.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

#: Contents that are no file of ours at all.
STRANGE = (
    b"", b"null", b"{}", b"[]", b"0", b'"text"', b"\xff\xfe\x00", b"[" * 100_000,
    b'{"a":' * 100_000, b"9" * 5000, b"NaN", b"PAR1", b"\x00" * 1000,
)  # fmt: skip

_VALUES = st.one_of(
    st.sampled_from([None, True, False, 0, -1, 1e400, -1e400, 2**63, 10**30, 1.5, "", "x", "../x",
                     "\x00", "\x1b[2J", [], {}, [[]], {"": None}, [None], ["x"], "1" * 1000]),
    st.integers(), st.floats(), st.text(max_size=8), st.lists(st.integers(), max_size=3),
)  # fmt: skip
_PLACES = st.integers(0, 2**32)
Path = tuple[str | int, ...]
Content = Callable[[], bytes]


def spliced(content: bytes) -> st.SearchStrategy[Content]:
    """A file with bytes removed, added or flipped at a place or two, or cut off."""

    def splice(cuts: list[tuple[int, int, bytes]]) -> bytes:
        changed = content
        for place, removed, added in cuts:
            at = place % (len(changed) + 1)
            changed = changed[:at] + added + changed[at + removed :]
        return changed

    removed = st.one_of(st.integers(0, 8), st.just(len(content)))
    cut = st.tuples(_PLACES, removed, st.binary(max_size=8))
    return st.builds(partial, st.just(splice), st.lists(cut, min_size=1, max_size=2))


def reshaped(content: bytes) -> st.SearchStrategy[Content]:
    """A JSON file with other values or keys at some places, or without some."""
    whole = json.loads(content)

    def reshape(changes: list[tuple[int, str, Any]]) -> bytes:
        changed = copy.deepcopy(whole)
        for place, action, value in changes:
            paths = list(_paths(changed, ()))
            # A strategy's values are the same objects each time.
            new = copy.deepcopy(value)
            changed = _changed(changed, paths[place % len(paths)], action, new)
        return json.dumps(changed).encode()

    actions = st.sampled_from(["value", "value", "value", "remove", "add"])
    change = st.tuples(_PLACES, actions, _VALUES)
    return st.builds(partial, st.just(reshape), st.lists(change, min_size=1, max_size=3))


def _paths(value: Any, path: Path) -> Iterator[Path]:
    yield path
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _paths(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _paths(part, (*path, index))


def _changed(whole: Any, path: Path, action: str, value: Any) -> Any:
    if not path:
        return value
    parent = whole
    for part in path[:-1]:
        parent = parent[part]
    if action == "remove":
        del parent[path[-1]]
    elif action == "add" and isinstance(parent, dict):
        parent[f"{path[-1]}x"] = value
    else:
        parent[path[-1]] = value
    return whole


def rebuilt(content: bytes) -> st.SearchStrategy[Content]:
    """A Parquet file, whole as such, with other columns, values or metadata than ours."""
    table = pq.read_table(pa.BufferReader(content), use_threads=False)
    told = table.schema.metadata or {}
    changes: list[Callable[[int, Any], pa.Table]] = [
        lambda at, _: table.remove_column(at % table.num_columns),
        lambda at, _: _with(table, at, pa.nulls(len(table))),
        lambda at, _: _with(table, at, pa.array(["x"] * len(table))),
        lambda at, _: _with(table, at, pa.array([2**62] * len(table))),
        lambda at, _: _with(table, at, pa.array([[1.5]] * len(table))),
        lambda _at, _: table.slice(0, 0),
        lambda _at, _: pa.concat_tables([table, table]),
        lambda at, value: table.rename_columns(
            [f"{name}{value}" if i == at % table.num_columns else name
             for i, name in enumerate(table.column_names)]
        ),
        lambda _at, _: table.replace_schema_metadata(None),
        *([lambda at, value: table.replace_schema_metadata(_told(told, at, value))] * 4),
    ]  # fmt: skip

    def rebuild(number: int, at: int, value: Any) -> bytes:
        buffer = pa.BufferOutputStream()
        pq.write_table(changes[number](at, value), buffer)
        written: bytes = buffer.getvalue().to_pybytes()
        return written

    number = st.integers(0, len(changes) - 1)
    return st.builds(partial, st.just(rebuild), number, _PLACES, _VALUES)


def _with(table: pa.Table, at: int, column: pa.Array) -> pa.Table:
    number = at % table.num_columns
    return table.set_column(number, table.column_names[number], column)


def _told(told: dict[bytes, bytes], at: int, value: Any) -> dict[bytes, bytes]:
    """Metadata with another value somewhere in one of its JSON texts."""
    changed = dict(told)
    for key, text in told.items():
        if text.startswith(b"{"):
            content = json.loads(text)
            paths = list(_paths(content, ()))
            new = _changed(content, paths[at % len(paths)], "value", value)
            changed[key] = json.dumps(new).encode()
    return changed
