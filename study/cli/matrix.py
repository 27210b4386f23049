"""The transfer matrix of a study, for a person: tables, what stands behind them, and sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from analysis.cells import records
from analysis.contract import GUIDANCE, is_rival
from analysis.sentences import sentences
from analysis.statistics import INTERVALS
from analysis.verdict_words import Kind, kind
from study.cli.console import wide_console
from study.cli.matrix_notes import Row, notes
from study.cli.matrix_rows import print_rows, verdict_text

if TYPE_CHECKING:
    import pandas as pd

#: Wide enough for the longest verdict beside all columns.
_PLAIN_WIDTH = 220
#: More tables than these are joined, without the rows of controls; more guided rows are counted.
_MOST_TABLES, _MOST_ROWS = 12, 120
_MOST_SENTENCES = 20
_LEGEND = (
    "Means over n seeds; differences are guided minus unguided by seed, positive is better. "
    "Intervals are {intervals}. Verdicts are on the primary metric; the table `transfer` has the "
    "other metrics, and verdict_adjusted, for how many rows were tested."
)
#: Kinds of verdicts as heads of columns, the most telling first.
_HEADS = {
    Kind.specific: "helps, guide-specific",
    Kind.helps: "helps",
    Kind.no_more: "no more than a control",
    Kind.no_effect: "no effect",
    Kind.hurts: "hurts",
    Kind.open: "not established",
}
_AXES = ["task", "metric", "target", "guide", "distance", "mapping"]


def print_matrix(transfer: pd.DataFrame) -> None:
    """Print the transfer matrix on primary metrics: a table for each target, guide, distance.

    Of many guides, a table for each target and distance has the guided rows alone; of very many, a
    row counts the verdicts on a target.
    """
    console = wide_console(_PLAIN_WIDTH)
    primary = transfer[transfer["primary"]]
    rivals = primary[~primary["treatment"].fillna(GUIDANCE).eq(GUIDANCE)]
    primary = primary.drop(rivals.index)
    guided = primary[primary["control"] == "none"]
    if len(primary[_AXES].drop_duplicates()) <= _MOST_TABLES:
        _print_tables(console, primary, _AXES)
    elif len(guided) <= _MOST_ROWS:
        _print_tables(console, guided, [axis for axis in _AXES if axis != "guide"])
        _say(console, "Controls have rows in the table `transfer`.")
    else:
        _print_counts(console, guided)
    if len(rivals):
        _print_rivals(console, rivals)
    over = transfer["interval"].dropna().unique().tolist() or [INTERVALS["fixed"]]
    intervals = "; ".join(interval.removeprefix("95% ") for interval in over)
    _say(console, _LEGEND.format(intervals=intervals))


def print_sentences(transfer: pd.DataFrame) -> None:
    """Print what a person would say of each guided row; of many, of those with an effect."""
    console = wide_console(_PLAIN_WIDTH)
    chosen_rows = records(transfer[transfer["primary"] & (transfer["control"] == "none")])
    rows = sorted(chosen_rows, key=is_rival)
    shown = rows
    if len(rows) > _MOST_SENTENCES:
        shown = [row for row in rows if kind(row["verdict"]) != Kind.open][:_MOST_SENTENCES]
    chosen = {id(row) for row in shown}
    for row, text in zip(rows, sentences(rows), strict=True):
        if id(row) in chosen:
            _say(console, text, bullet=verdict_text(row["verdict"]).style)
    rest = [row for row in rows if id(row) not in chosen]
    if rest:
        num_open = sum(kind(row["verdict"]) == Kind.open for row in rest)
        _say(console, f"{len(rest)} more rows, {num_open} of them not established.")


def _print_tables(console: Console, frame: pd.DataFrame, axes: Sequence[str]) -> None:
    """Print a table, its title and its notes for each combination of some columns."""
    with_guide = "guide" not in axes and bool(frame["guide"].notna().any())
    for _, group in frame.groupby(list(axes), sort=False, dropna=False):
        rows = records(group)
        _say(console, _title(rows[0], with_guide=with_guide))
        print_rows(console, rows, with_guide=with_guide)
        guided = [row for row in rows if row["control"] == "none"]
        for note in dict.fromkeys(note for row in guided for note in _notes(row, with_guide)):
            _say(console, note, indent=1)


def _print_rivals(console: Console, rivals: pd.DataFrame) -> None:
    """Print a table of the rivals of each target; those of very many targets are counted."""
    axes = ["task", "metric", "target"]
    num_targets = len(rivals[axes].drop_duplicates())
    if num_targets > _MOST_TABLES:
        _say(console, f"{len(rivals)} rows of rivals stand in the table `transfer`.")
        return
    # Controls below the rival that they belong to; nothing else is moved.
    order = {name: place for place, name in enumerate(rivals["treatment"].unique())}
    keys = [rivals["treatment"].map(order), rivals["control"] != "none"]
    places = sorted(range(len(rivals)), key=lambda row: tuple(key.iloc[row] for key in keys))
    _print_tables(console, rivals.iloc[places], axes)
    _say(console, "Rivals treat the target in place of guidance, from the same unguided seeds.")


def _notes(row: Row, with_guide: bool) -> Iterator[str]:
    for note in notes(row):
        yield f"{row['guide']}, {note}" if with_guide else note


def _title(row: Row, *, with_guide: bool) -> str:
    if is_rival(row):
        return f"{row['task']}: {row['target']}, rivals  (primary metric: test {row['metric']})"
    guide = "" if with_guide else f" <- {row['guide']}"
    named = f"{row['task']}: {row['target']}{guide}, {row['distance']}, {row['mapping']}"
    return f"{named}  (primary metric: test {row['metric']})"


def _print_counts(console: Console, guided: pd.DataFrame) -> None:
    """Print how many guided rows of each task and target have which verdict."""
    rows = records(guided)
    present = {kind(row["verdict"]) for row in rows}
    kinds = [each for each in _HEADS if each in present]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("task", "target"):
        table.add_column(column, overflow="fold")
    for head in ("rows", *(_HEADS[each] for each in kinds)):
        table.add_column(head, justify="right")
    counts: dict[tuple[str, str], Counter[Kind]] = {}
    for row in rows:
        counts.setdefault((row["task"], row["target"]), Counter())[kind(row["verdict"])] += 1
    for (task, target), found in counts.items():
        numbers = [found.total(), *(found[each] for each in kinds)]
        table.add_row(Text(task), Text(target), *map(str, numbers))
    console.print(table)
    _say(console, f"{len(rows)} guided rows, counted by verdict; the table `transfer` has each.")


def _say(console: Console, text: str, *, indent: int = 0, bullet: object = None) -> None:
    """Print text: wrapped at words on a terminal, elsewhere as one line."""
    words = Text(text)
    marked = words if bullet is None else Text("- ", style=str(bullet)).append_text(words)
    if not console.is_terminal:
        console.print(" " * indent, marked, sep="", soft_wrap=True)
    elif bullet is None:
        console.print(Padding(words, (0, 0, 0, indent), expand=False), soft_wrap=False)
    else:
        line = Table.grid(padding=(0, 1, 0, 0))
        line.add_row(Text("-", style=str(bullet)), words)
        console.print(line, soft_wrap=False)
