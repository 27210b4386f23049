"""The command `compare`: two studies side by side, as text, JSON or a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.text import Text

from analysis.cells import records
from analysis.comparison import (
    LEGEND,
    Outcome,
    comparison_table,
    condition,
    counted,
    differing,
)
from analysis.comparison_data import data_notes
from analysis.comparison_page import page
from analysis.quantities import fixed
from analysis.sentences.facts import num_seeds
from study.cli.checking import not_written
from study.cli.console import say, wide_console
from study.errors import SpecError
from study.run.comparing import Side, side

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]
_PLAIN_WIDTH = 200
_MOST_ROWS = 40
#: Of lines that go on below their begin.
_INDENT = 3
_KINDS = {"level": "", "effect": "effect, "}
_STYLES = {Outcome.differs: "bold yellow", Outcome.open: "", Outcome.unpaired: "dim"}


def compare(
    first: str, second: str, store: str, store_b: str | None, *, page_to: str | None, as_json: bool
) -> None:
    """Compare two studies and print how they differ; write a page where `page_to` names a file."""
    with not_written() as unsaid:
        one, two = side(first, store), side(second, store_b or store)
    for line in unsaid:
        typer.echo(line, err=True)
    try:
        table = comparison_table(one.tables, two.tables)
    except ValueError as error:
        raise SpecError(f"{one.name} and {two.name} cannot be compared: {error}") from error
    if page_to is not None:
        commits, notes = (one.commits, two.commits), list(data_notes(one.data, two.data))
        _write(page_to, page(table, one.name, two.name, commits, notes))
    if as_json:
        typer.echo(json.dumps(_content(table, one, two), indent=1))
        return
    _print(table, one, two)
    if page_to is not None:
        typer.echo(f"page: {page_to}")


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"--page: {path} cannot be written: {error.strerror}") from error


def _content(table: pd.DataFrame, one: Side, two: Side) -> dict[str, Any]:
    return {
        "first": {"study": one.name, "commits": one.commits},
        "second": {"study": two.name, "commits": two.commits},
        "notes": list(data_notes(one.data, two.data)),
        "rows": records(table),
    }


def _print(table: pd.DataFrame, one: Side, two: Side) -> None:
    console = wide_console(_PLAIN_WIDTH)
    for which, each in (("first", one), ("second", two)):
        commits = ", ".join(commit[:12] for commit in each.commits)
        typer.echo(f"{which}: {each.name}{f' (trained by {commits})' if commits else ''}")
    for line in data_notes(one.data, two.data):
        say(f"note: {line}", indent=_INDENT)
    primary = table[table["primary"]]
    changed = differing(primary)
    _print_rows(console, changed[:_MOST_ROWS])
    if len(changed) > _MOST_ROWS:
        typer.echo(f"{len(changed) - _MOST_ROWS} more rows: --json or --page has them")
    for line in _summary(records(primary)):
        say(line, indent=_INDENT)


def _print_rows(console: Console, rows: Sequence[Row]) -> None:
    """Print rows of both; the condition stands above its numbers, so that nothing is cut."""
    for row in rows:
        console.print(
            Text(f"{_KINDS[row['quantity']]}{condition(row)}"), soft_wrap=not console.is_terminal
        )
        line = Text("   ").append_text(_numbers(row))
        console.print(line, soft_wrap=not console.is_terminal)


def _numbers(row: Row) -> Text:
    sign = "+" if row["quantity"] == "effect" else ""
    first, second = (format(row[name], f"{sign}.3f") for name in ("first", "second"))
    text = f"{row['metric']} {first} -> {second}"
    if row["n"]:
        text += f", difference {fixed(row['difference'], 3, signed=True)}"
        if row["difference_low"] is not None:
            limits = (row["difference_low"], row["difference_high"])
            text += f" ({' .. '.join(fixed(limit, 3, signed=True) for limit in limits)})"
        text += f", {num_seeds(row['n'])}"
        text += f", {row['n_same']} of them the same replicates" if row["n_same"] else ""
    else:
        text += f", {row['n_first']} and {row['n_second']} seeds"
    found = Text(f"{text}: ").append(row["outcome"], style=_STYLES[Outcome(row["outcome"])])
    verdicts = [row["verdict_first"], row["verdict_second"]]
    if None not in verdicts and verdicts[0] != verdicts[1]:
        found.append(f"; verdict {verdicts[0]} -> {verdicts[1]}")
    return found


def _summary(rows: Sequence[Row]) -> Iterator[str]:
    """Lines with the number of conditions by outcome, and those that one study alone has."""
    yield counted(rows)
    for outcome in (Outcome.only_first, Outcome.only_second):
        alone = [row for row in rows if row["outcome"] == outcome and row["quantity"] == "level"]
        for row in alone[:_MOST_ROWS]:
            yield f"{outcome.value}: {condition(row)}"
        if len(alone) > _MOST_ROWS:
            yield f"{outcome.value}: {len(alone) - _MOST_ROWS} more"
    yield LEGEND
