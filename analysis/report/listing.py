"""Tables of the page: chosen columns of a study's tables, formatted, and their first rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.contract import CONDITION_COLUMNS
from analysis.report.blocks import Column, Datum, Table
from analysis.report.numbers import ABSENT, count, difference, interval, level, number, present

#: Rows of a table on the page; its Parquet file has the rest.
MAX_ROWS = 200
#: Columns that are said once above a table where all rows have one value.
_SAID_ONCE = frozenset((*CONDITION_COLUMNS, "metric", "role"))
#: Texts of more characters get room.
_WIDE = 24
_LONGEST_TEXT = 400

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A column of a table on the page: its title, and how a row's datum is made."""

    title: str
    datum: Callable[[Row], Datum]
    number: bool = False
    named: bool = False
    said_once: bool = False


def text(name: str, title: str | None = None) -> Shown:
    """A column of texts, names of the user's among them."""
    return Shown(
        title=title or name.replace("_", " "), named=True, datum=lambda row: _text(row[name]),
        said_once=name in _SAID_ONCE,
    )  # fmt: skip


def words(of: Callable[[Row], str], title: str) -> Shown:
    """A column of texts that are made of a row."""
    return Shown(title=title, datum=lambda row: _text(of(row)))


def whole(name: str, title: str | None = None) -> Shown:
    """A column of whole numbers."""

    def datum(row: Row) -> Datum:
        value = row[name]
        return Datum(text=count(int(value)), value=int(value)) if present(value) else _NOTHING

    return Shown(title=title or name.replace("_", " "), number=True, datum=datum)


def real(name: str, title: str | None = None) -> Shown:
    """A column of numbers without a unit."""
    return Shown(
        title=title or name.replace("_", " "),
        number=True,
        datum=lambda row: _number(row[name], number(row[name])),
    )


def of_metric(name: str, title: str | None = None) -> Shown:
    """A column of values in the unit of the row's metric."""
    return Shown(
        title=title or name.replace("_", " "),
        number=True,
        datum=lambda row: _number(row[name], level(row[name], row["metric"])),
    )


def with_limits(name: str, title: str | None = None, *, plain: bool = False) -> list[Shown]:
    """Two columns: a difference, and its interval; `plain` for one without a metric's unit."""

    def metric(row: Row) -> str:
        return "" if plain else row["metric"]

    def limits(row: Row) -> Datum:
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        shown = interval(row[name], low, high, metric(row))
        return Datum(text=shown or ABSENT, value=low if present(low) else None)

    title = title or name.replace("_", " ")
    mean = Shown(
        title=title,
        number=True,
        datum=lambda row: _number(row[name], difference(row[name], metric(row))),
    )
    return [mean, Shown(title=f"{title}, 95% interval", number=True, datum=limits)]


def flag(name: str, title: str | None = None) -> Shown:
    """A column of yes and no."""

    def datum(row: Row) -> Datum:
        return Datum(text="yes" if row[name] else "no") if present(row[name]) else _NOTHING

    return Shown(title=title or name.replace("_", " "), datum=datum)


def table(
    rows: Sequence[Row], columns: Sequence[Shown], *, caption: str, name: str, file: str = ""
) -> Table:
    """A table of the first rows; columns without any value are left out.

    What describes a condition and is the same in all rows is said once. `name` is that of the CSV
    file it is saved as.
    """
    first = rows[:MAX_ROWS]
    data = [[column.datum(row) for column in columns] for row in first]
    texts = [[line[index].text for line in data] for index in range(len(columns))]
    kept = [index for index, found in enumerate(texts) if {*found} - {"", ABSENT}]
    shown = [_column(columns[index], texts[index]) for index in kept]
    pairs = zip(shown, kept, strict=True)
    return Table(
        caption=caption,
        name=name,
        file=file,
        columns=shown,
        rows=[[line[index] for index in kept] for line in data],
        left_out=len(rows) - len(first),
        common=[(column.title, texts[index][0]) for column, index in pairs if column.hidden],
    )


def _column(column: Shown, texts: Sequence[str]) -> Column:
    return Column(
        title=column.title,
        number=column.number,
        named=column.named,
        wide=not (column.number or column.named) and max(map(len, texts)) > _WIDE,
        hidden=column.said_once and len({*texts}) == 1,
    )


_NOTHING = Datum(text=ABSENT)


def _text(value: Any) -> Datum:
    if not present(value):
        return _NOTHING
    shown = str(value)
    return Datum(text=shown if len(shown) <= _LONGEST_TEXT else f"{shown[:_LONGEST_TEXT]}…")


def _number(value: Any, shown: str) -> Datum:
    return Datum(text=shown, value=float(value)) if present(value) else _NOTHING


def values_of(content: Any) -> str:
    """Searched values as a person reads them: `lr 0.001, dropout 0.1`, from their JSON."""
    if not present(content):
        return ABSENT
    try:
        found = json.loads(content)
    except ValueError:
        return str(content)
    if not isinstance(found, Mapping):
        return str(content)
    return ", ".join(f"{key} {value}" for key, value in found.items())
