"""The command `confirm`: frozen statements beside their values at fresh seeds, for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich import box
from rich.table import Table

from analysis.cells import records
from analysis.confirmation import CONFIRMED
from analysis.servers import masked
from study.cli.console import wide_console
from study.confirm import Confirmation
from study.confirm import confirm as run
from study.run.descriptions import failure_lines

Row = Mapping[str, Any]


def confirm(study: str, store: str, tracking_uri: str | None, *, again: str, **how: Any) -> bool:
    """Confirm a study and print the outcome; True if all is confirmed.

    `again` is the command that goes on. Other arguments and errors are those of
    `study.confirm.confirm`.
    """
    found = run(study, store=store, tracking_uri=tracking_uri, **how)
    rows = records(found.table)
    _print(rows)
    for row in rows:
        if row["problem"] is not None:
            typer.echo(f"{row['place']}: {row['problem']}")
    for line in failure_lines(found.outcome.progress, f"{masked(again)} --retry"):
        typer.echo(line)
    typer.echo(_summary(found, rows))
    place = found.outcome.progress.store.root / "studies"
    typer.echo(f"tables: {(place / study).uri}/confirm.parquet, "
               f"{(place / found.frozen.confirmation).uri}/*.parquet")  # fmt: skip
    return found.confirmed


def _print(rows: Sequence[Row]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("rule or row")
    table.add_column("claim")
    for column in ("explored", "95% interval", "n", "fresh seeds", "95% interval", "n", "p"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        table.add_row(
            row["statement"], row["claim"] or "-",
            *_measured(row, "exploratory"), *_measured(row, "confirmed"),
            _p(row["confirmed_p"]), _verdict(row),
        )  # fmt: skip
    wide_console().print(table)


def _measured(row: Row, which: str) -> tuple[str, str, str]:
    low, high = row[f"{which}_low"], row[f"{which}_high"]
    interval = "-" if low is None else f"{_number(low)} .. {_number(high)}"
    return _number(row[f"{which}_value"]), interval, str(row[f"{which}_n"])


def _p(value: float | None) -> str:
    return "< 0.001" if value is not None and value < 0.001 else _number(value)


def _verdict(row: Row) -> str:
    """The verdict, of a row with that which it was asked for."""
    is_row = row["place"].startswith("confirm")
    return f"{row['verdict']}: {row['asked']}" if is_row else str(row["verdict"])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"


def _summary(found: Confirmation, rows: Sequence[Row]) -> str:
    frozen = found.frozen
    confirmed = sum(row["verdict"] == CONFIRMED for row in rows)
    seeds = ", ".join(map(str, frozen.seeds))
    again = "" if frozen.attempt == 1 else f" (confirmation {frozen.attempt} of this study)"
    return f"{confirmed} of {len(rows)} confirmed at seeds {seeds}, frozen {frozen.time}{again}"
