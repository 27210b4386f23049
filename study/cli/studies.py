"""The command `studies`: what is in a store, a line or a few for each study."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import typer
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from analysis.contract import Status
from analysis.names import DEFAULT_STORE
from analysis.verdict_words import Kind
from study.cli.console import wide_console
from study.cli.matrix_rows import STYLES
from study.run.absent_store import NO_STORE_YET
from study.run.locations import existing_store
from study.run.studies import StudyEntry, entries
from trainers.secrets import masked

_WORDS = {
    Status.finished: "done",
    Status.missing: "to train",
    Status.failed: "failed",
    Status.blocked: "blocked",
}
#: Kinds of verdicts as a list has them, the most telling first.
_VERDICTS = {
    Kind.specific: "guide-specific",
    Kind.helps: "help",
    Kind.hurts: "hurt",
    Kind.no_more: "no more than a control",
    Kind.no_effect: "no effect",
    Kind.open: "not established",
}
_PLAIN_WIDTH = 220
#: From so many columns on there is a table; below, a study takes two lines or three.
_TABLE_WIDTH = 140


def show(store: str, *, as_json: bool) -> None:
    """Print the studies of a store."""
    if store == DEFAULT_STORE and not Path(store).exists():
        # Nothing is wrong: it is what a person asks first.
        typer.echo("[]" if as_json else f"no studies yet: {NO_STORE_YET}")
        return
    place = existing_store(store).root
    found = entries(place)
    if as_json:
        typer.echo(json.dumps([entry.content() for entry in found], indent=1))
        return
    if not found:
        typer.echo(f"no studies in {masked(place.uri)}")
        return
    console = wide_console(_PLAIN_WIDTH)
    if console.width >= _TABLE_WIDTH:
        _print_table(console, found)
    else:
        _print_lines(console, found)
    total = "1 study" if len(found) == 1 else f"{len(found)} studies"
    typer.echo(f"{total} in {masked(place.uri)}")


def _print_table(console: Console, found: list[StudyEntry]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("study", overflow="fold")
    table.add_column("replicates")
    table.add_column("verdicts")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("last run", no_wrap=True)
    table.add_column("question", ratio=1)
    for entry in found:
        table.add_row(
            Text(entry.name), _counts(entry), _verdicts(entry.verdicts), size(entry.num_bytes),
            _when(entry.last_run), Text(entry.problem or entry.question),
        )  # fmt: skip
    console.print(table)


def _print_lines(console: Console, found: list[StudyEntry]) -> None:
    for entry in found:
        facts = f"  {size(entry.num_bytes)}, {_when(entry.last_run)}"
        head = Text(entry.name, style="bold").append_text(Text(facts, style="not bold"))
        console.print(head, soft_wrap=False)
        verdicts = _verdicts(entry.verdicts)
        states = _counts(entry)
        line = Text(": ").join([states, verdicts]) if verdicts else states
        for text in (line, Text(entry.problem or entry.question, style="dim")):
            if text:
                console.print(Padding(text, (0, 0, 0, 2)), soft_wrap=False)


def _counts(entry: StudyEntry) -> Text:
    parts = [
        f"{entry.counts[each]} {word}" for each, word in _WORDS.items() if entry.counts.get(each)
    ]
    if entry.running:
        parts.append("running")
    return Text(", ".join(parts) or "-")


def _verdicts(verdicts: Mapping[Kind, int]) -> Text:
    parts = [
        Text(f"{verdicts[each]} {word}", style=STYLES[each])
        for each, word in _VERDICTS.items()
        if verdicts.get(each)
    ]
    return Text(", ").join(parts)


def size(num_bytes: int) -> str:
    """A size in bytes as a person writes it: `12 kB`, `3.4 GB`."""
    number = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            digits = 1 if unit != "B" and number < 10 else 0
            return f"{number:.{digits}f} {unit}"
        number /= 1000
    raise AssertionError


def _when(moment: float | None) -> str:
    """A moment in local time, without the day where that is today."""
    if moment is None:
        return "-"
    local = datetime.fromtimestamp(moment, UTC).astimezone()
    today = datetime.fromtimestamp(time.time(), UTC).astimezone().date()
    return f"{local:%H:%M}" if local.date() == today else f"{local:%Y-%m-%d}"
