"""The command `plot`: a figure of a study as a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from analysis.errors import UserError, unknown
from study.cli.kept_tables import KeptTables
from study.run.locations import find_store


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
    tables = KeptTables(study, find_store(store), tracking_uri)
    given = {name: value for name, value in choice.items() if value is not None}
    figure = plots.study_figure(kind, tables, plots.Choice(**given))
    with written(path):
        plots.save(figure, path, name=f"{study}: {kind}")
    typer.echo(f"wrote {os.fspath(path)}")
    for line in tables.absent():
        typer.echo(line, err=True)


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Raise an error of writing a file as the user's mistake, with the path."""
    try:
        yield
    except OSError as error:
        message = f"--to: {path} cannot be written: {error.strerror or error}"
        raise UserError(message) from error
