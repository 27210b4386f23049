"""The command `confirm`: frozen statements beside their values at fresh seeds, for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from analysis.cells import records
from analysis.confirmation import CONFIRMED
from study.cli.console import wide_console
from study.cli.statement_rows import Measured, Statement, number, print_statements
from study.confirm import Confirmation
from study.confirm import confirm as run
from study.run.descriptions import failure_lines
from trainers.secrets import masked

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
    own, confirmation = masked((place / study).uri), (place / found.frozen.confirmation).uri
    typer.echo(f"tables: {own}/confirm.parquet, {masked(confirmation)}/*.parquet")
    return found.confirmed


def _print(rows: Sequence[Row]) -> None:
    measured = ("95% interval", "n")
    columns = ("rule or row", "claim", "explored", *measured, "fresh seeds", *measured, "p")
    print_statements(wide_console(), (*columns, "verdict"), [_statement(row) for row in rows])


def _statement(row: Row) -> Statement:
    explored, fresh = _measured(row, "exploratory"), _measured(row, "confirmed")
    p, verdict = _p(row["confirmed_p"]), _verdict(row)
    claim = row["claim"] or "-"
    return Statement(
        cells=(row["statement"], claim, *explored.cells(), *fresh.cells(), p, verdict),
        head=f"{verdict}: {row['statement']}",
        below=[
            f"explored {explored.text()}",
            f"fresh seeds {fresh.text()}{'' if p == '-' else f', p {p}'}",
            *filter(None, [row["claim"]]),
        ],
    )


def _measured(row: Row, which: str) -> Measured:
    value, low, high, n = (row[f"{which}_{name}"] for name in ("value", "low", "high", "n"))
    return Measured(value=value, low=low, high=high, n=n)


def _p(value: float | None) -> str:
    return "< 0.001" if value is not None and value < 0.001 else number(value)


def _verdict(row: Row) -> str:
    """The verdict, of a row with that which it was asked for."""
    is_row = row["place"].startswith("confirm")
    return f"{row['verdict']}: {row['asked']}" if is_row else str(row["verdict"])


def _summary(found: Confirmation, rows: Sequence[Row]) -> str:
    frozen = found.frozen
    confirmed = sum(row["verdict"] == CONFIRMED for row in rows)
    seeds = ", ".join(map(str, frozen.seeds))
    again = "" if frozen.attempt == 1 else f" (confirmation {frozen.attempt} of this study)"
    return f"{confirmed} of {len(rows)} confirmed at seeds {seeds}, frozen {frozen.time}{again}"
