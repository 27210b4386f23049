"""The command `plot`: a figure of a study as a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from analysis.contract import Role
from analysis.errors import UserError, unknown
from analysis.schema import schema
from study.cli.kept_tables import kept_tables

#: Columns that figures mostly show, and where all of them stand.
_USUAL = ("difference", "specific", "knowledge", "architecture_specific", "guided")
_ALL_COLUMNS = "docs/tables.md has all columns of transfer and priors"


def plot(
    study: str,
    kind: str,
    to: str | None,
    store: str,
    tracking_uri: str | None,
    choice: dict[str, str | None],
) -> None:
    """Write a figure of a study, and say which replicates it lacks.

    `choice` holds the fields of `plots.Choice` that the user gave. Raises UserError for an unknown
    kind, suffix, study, task, target, guide or metric.
    """
    from analysis import plots

    if kind not in plots.KINDS:
        raise unknown("figure:", kind, plots.KINDS)
    path = Path(to or f"{study}-{kind}.svg")
    plots.check_suffix(path)
    tables = kept_tables(study, store, tracking_uri)
    given = {name: value for name, value in choice.items() if value is not None}
    if "value" in given:
        _check_value(given["value"])
    if named := given.keys() & {"task", "target", "guide"}:
        replicates = tables("replicates")
        # Those of guides alone are in no figure's choice.
        replicates = replicates[~replicates["role"].isin((Role.guide, Role.candidate))]
        for column in named:
            known = [*dict.fromkeys(replicates[column].dropna().astype(str))]
            given[column] = label(column, given[column], known)
    figure = plots.study_figure(kind, tables, plots.Choice(**given))
    with written(path):
        plots.save(figure, path, name=f"{study}: {kind}")
    typer.echo(f"wrote {os.fspath(path)}")
    for line in tables.absent():
        typer.echo(line, err=True)


def label(column: str, given: str, known: Sequence[str]) -> str:
    """The label that a name or the start of a label means; raises UserError where it is none."""
    starting = [label for label in known if label.startswith(given)]
    named = [label for label in starting if label.partition("(")[0] == given]
    found = [given] if given in known else named or starting
    if len(found) > 1:
        several = ", ".join(found)
        raise UserError(f"--{column}: {given} is of {len(found)}: give one of them ({several})")
    if not found:
        raise unknown(f"{column}:", given, known)
    return found[0]


def _check_value(value: str) -> None:
    """Raise UserError, with the near columns and the usual ones, where a table has no such one."""
    known = {*schema("transfer").names, *schema("priors").names}
    if value not in known:
        raise unknown("value:", value, known, f"usual are {', '.join(_USUAL)}; {_ALL_COLUMNS}")


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Raise an error of writing a file as the user's mistake, with the path."""
    try:
        yield
    except OSError as error:
        message = f"--to: {path} cannot be written: {error.strerror or error}"
        raise UserError(message) from error
