"""Rows of the matrix on a terminal of any width: no verdict and no label is ever cut.

On a wide terminal a row is a line; on a narrower one the controls' columns go, which have rows of
their own, then long verdicts take several lines, and at last label and verdict stand above the
numbers. Where output is no terminal, lines are as long as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from analysis.quantities import fixed
from analysis.verdict_words import Kind, kind
from study.cli.console import print_whole, whole_width
from study.cli.matrix_notes import Row, label, present

#: Fewest columns of a verdict that takes several lines: more where one of its words is longer.
_NARROW_VERDICT = 18
_LEVELS = ("shuffled", "input", "labels")
_GAP = 3
#: Colours of verdicts.
STYLES = {
    Kind.specific: "bold green",
    Kind.helps: "green",
    Kind.no_more: "yellow",
    Kind.no_effect: "blue",
    Kind.hurts: "red",
    Kind.open: "",
    Kind.control: "dim",
}


def print_rows(console: Console, rows: Sequence[Row], *, with_guide: bool = False) -> None:
    """Print rows of `transfer` in the widest layout that fits; `with_guide` names their guide."""
    always = ("shuffled", "input") if any_present(rows, "guide") else ()
    levels = [name for name in _LEVELS if name in always or any_present(rows, name)]
    longest = max(len(row["verdict"]) for row in rows)
    narrowest = max(_NARROW_VERDICT, *(len(w) for row in rows for w in row["verdict"].split()))
    for shown in (levels, []):
        whole = _table(rows, shown, with_guide=with_guide)
        spare = console.width - whole_width(console, whole) + longest
        if spare >= longest or not console.is_terminal:
            return print_whole(console, whole)
        if spare >= narrowest:
            return console.print(_table(rows, shown, with_guide=with_guide, verdict_width=spare))
    for line in _stacked(rows, with_guide=with_guide):
        console.print(line, soft_wrap=False)
    return None


def any_present(rows: Sequence[Row], column: str) -> bool:
    """Whether a row has a value in a column."""
    return any(present(row[column]) for row in rows)


def verdict_text(found: str) -> Text:
    """A verdict in the colour of its kind."""
    return Text(found, style=STYLES[kind(found)])


def _table(
    rows: Sequence[Row],
    levels: Sequence[str],
    *,
    with_guide: bool,
    verdict_width: int | None = None,
) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    if with_guide:
        table.add_column("guide", no_wrap=True)
    scheduled = any_present(rows, "schedule")
    table.add_column("guide is" if scheduled else "rival", no_wrap=True)
    if scheduled:
        table.add_column("schedule", no_wrap=True)
    treated = "guided" if scheduled else "treated"
    for column in ("n", "unguided", treated, *levels, "difference", "95% interval"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=verdict_width is None, width=verdict_width)
    for row in rows:
        names = [row["guide"]] if with_guide else []
        schedule = [row["schedule"]] if scheduled else []
        cells = (*names, label(row), *schedule, *_numbers(row, levels))
        table.add_row(*map(Text, cells), verdict_text(row["verdict"]))
    return table


def _numbers(row: Row, levels: Sequence[str]) -> list[str]:
    """n, the levels, the difference and its interval, as text."""
    shown = [_number(row[name]) for name in ("baseline", "guided", *levels)]
    interval = "-"
    if present(row["difference_low"]):
        interval = " .. ".join(_signed(row[f"difference_{side}"]) for side in ("low", "high"))
    difference = _signed(row["difference"]) if present(row["difference"]) else "-"
    return [str(row["n"]), *shown, difference, interval]


def _stacked(rows: Sequence[Row], *, with_guide: bool) -> Iterator[RenderableType]:
    """Lines of the narrowest layout: label and verdict of a row, and its numbers below."""
    heads = ("n", "unguided", "guided", "difference", "95% interval")
    cells = [_numbers(row, ()) for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]

    def line(parts: Sequence[str]) -> str:
        sized = zip(parts, widths, strict=True)
        return (" " * _GAP).join(part.rjust(width) for part, width in sized)

    yield Padding(Text(line(heads), style="bold"), (0, 0, 0, _GAP), expand=False)
    for row, numbers in zip(rows, cells, strict=True):
        schedule = row["schedule"] if present(row["schedule"]) else ""
        names = (row["guide"] if with_guide else "", label(row), schedule)
        named = Text(", ".join(name for name in names if name) + ": ")
        yield Padding(named.append_text(verdict_text(row["verdict"])), (0, 0, 0, 1), expand=False)
        yield Padding(Text(line(numbers)), (0, 0, 0, _GAP), expand=False)
    yield Text()


def _number(value: object) -> str:
    return format(value, ".3f") if present(value) else "-"


def _signed(value: float) -> str:
    return fixed(value, 3, signed=True)
