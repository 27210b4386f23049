"""The command `check`: a spec's expectations beside the measured values, for a person."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from analysis.errors import DamagedFileWarning, NotWrittenWarning
from study.cli.console import wide_console
from study.cli.statement_rows import Measured, Statement, number, print_statements

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]
_NOT_RUN = "not run"
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
        columns = ("rule", "claim", "metric", "measured", "95% interval", "n", "verdict")
        print_statements(console, columns, [_rule(row) for row in expected])
    if published:
        columns = ("of", "metric", "measured", "95% interval", "n", "published", "source")
        print_statements(console, columns, [_number_of(row) for row in published])


def _rule(row: Row) -> Statement:
    found, verdict = _measured(row), _verdict(row)
    claim, metric = row["claim"] or "-", row["metric"] or "-"
    measured = f"{row['metric'] or 'measured'} {found.text()}"
    return Statement(
        cells=(row["rule"], claim, metric, *found.cells(), verdict),
        head=f"{verdict}: {row['rule']}",
        below=[measured, *filter(None, [row["claim"]])],
    )


def _number_of(row: Row) -> Statement:
    found, published = _measured(row), _published(row)
    metric, source = row["metric"] or "-", row["source"] or "-"
    return Statement(
        cells=(row["rule"], metric, *found.cells(_NOT_RUN), published, source),
        head=f"{row['rule']}, {metric}: published {published}, here {found.text(_NOT_RUN)}",
        below=[source],
    )


def _measured(row: Row) -> Measured:
    return Measured(value=row["value"], low=row["low"], high=row["high"], n=row["n"])


def _verdict(row: Row) -> str:
    if row["holds"] is None:
        return "cannot be checked"
    if not row["holds"]:
        return "fails"
    return "holds, established" if row["established"] else "holds"


def _published(row: Row) -> str:
    spread = row["published_spread"]
    return number(row["published"]) + ("" if spread is None else f" ± {number(spread)}")
