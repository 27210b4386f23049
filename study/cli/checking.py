"""The command `check`: a spec's expectations beside the measured values, for a person."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.table import Table

from analysis.errors import DamagedFileWarning, NotWrittenWarning
from study.cli.console import wide_console

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]
_TOLD = (NotWrittenWarning, DamagedFileWarning)


def check(study: str, store: str, spec: str | None, *, as_json: bool) -> bool:
    """Print the expectations of a study and its measured values; True if every rule holds.

    The rules are those of the spec in the store, or of `spec`, a preset or a YAML file. Raises
    ValueError when there is nothing to check.
    """
    import analysis
    from analysis.cells import records
    from study.run.locations import existing_store

    given: dict[str, Any] = {}
    if spec is not None:
        from study.spec.files import load

        content, _ = load(spec)
        given = {key: content.get(key) or [] for key in ("expect", "published")}
    with not_written() as unsaid:
        frame = analysis.check(study, store=existing_store(store).uri, **given)
    rows = records(frame)
    expected, published = _split(rows)
    if as_json:
        typer.echo(
            json.dumps({"study": study, "expect": expected, "published": published}, indent=1)
        )
    else:
        _print(expected, published)
        for row in rows:
            if row["problem"] is not None:
                typer.echo(f"{row['place']}: {row['problem']}")
        for line in summary(frame):
            typer.echo(line)
    for line in unsaid:
        typer.echo(line, err=True)
    return all(row["holds"] for row in expected)


@contextmanager
def not_written() -> Iterator[list[str]]:
    """Collect warnings of what was not written, and of damage that does not matter.

    They are to be printed last.
    """
    lines: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        for category in _TOLD:
            warnings.simplefilter("always", category)
        yield lines
    for each in caught:
        if issubclass(each.category, _TOLD):
            line = f"warning: {each.message}"
            lines += [] if line in lines else [line]
        else:
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


def say_summary(tables: Mapping[str, pd.DataFrame], shown_by: str | None) -> None:
    """Print how many expectations of a study hold, where it has any.

    `shown_by` is the command that shows each, if any does.
    """
    if "expectations" in tables:
        for line in summary(tables["expectations"]):
            typer.echo(line if shown_by is None else f"{line} ({shown_by})")


def summary(frame: pd.DataFrame) -> list[str]:
    """One line with the number of expectations that hold; empty without expectations."""
    rules = frame[frame["place"].str.startswith("expect")]
    if rules.empty:
        return []
    holding = int(rules["holds"].fillna(False).sum())
    return [f"{holding} of {len(rules)} expectations hold"]


def _split(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    rules = [row for row in rows if row["place"].startswith("expect")]
    return rules, [row for row in rows if not row["place"].startswith("expect")]


def _print(expected: Sequence[Row], published: Sequence[Row]) -> None:
    console = wide_console()
    if expected:
        table = _table("rule", "claim", "metric", "measured", "95% interval", "n", "verdict")
        for row in expected:
            table.add_row(
                row["rule"],
                row["claim"] or "-",
                row["metric"] or "-",
                *_measured(row),
                _verdict(row),
            )
        console.print(table)
    if published:
        table = _table("of", "metric", "measured", "95% interval", "n", "published", "source")
        for row in published:
            table.add_row(
                row["rule"], row["metric"] or "-", *_measured(row, none="not run"),
                _published(row), row["source"] or "-",
            )  # fmt: skip
        console.print(table)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    numbers = ("measured", "95% interval", "n", "published")
    for column in columns:
        is_number = column in numbers
        table.add_column(column, justify="right" if is_number else "left", no_wrap=is_number)
    return table


def _measured(row: Row, none: str = "-") -> tuple[str, str, str]:
    if row["value"] is None:
        return none, "-", str(row["n"])
    interval = "-"
    if row["low"] is not None:
        interval = f"{_number(row['low'])} .. {_number(row['high'])}"
    return _number(row["value"]), interval, str(row["n"])


def _verdict(row: Row) -> str:
    if row["holds"] is None:
        return "cannot be checked"
    if not row["holds"]:
        return "fails"
    return "holds, established" if row["established"] else "holds"


def _published(row: Row) -> str:
    if row["published"] is None:
        return "-"
    spread = row["published_spread"]
    return _number(row["published"]) + ("" if spread is None else f" ± {_number(spread)}")


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"
