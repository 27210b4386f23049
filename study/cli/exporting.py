"""The command `export table`: a table of a study as LaTeX, Markdown or CSV."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from analysis import publication
from analysis.errors import UserError
from study.cli.kept_tables import kept_tables
from study.cli.plotting import written

#: Forms of a table, by suffix of its file.
SUFFIXES = (".tex", ".md", ".csv")


def table(
    study: str,
    name: str,
    to: str | None,
    store: str,
    tracking_uri: str | None,
    columns: str | None,
) -> None:
    """Write a table to a file, or print it as Markdown; says which replicates it lacks.

    CSV has all columns and digits, unless `columns` says which. Raises UserError for an unknown
    study, table, column or suffix.
    """
    path = None if to is None else Path(to)
    suffix = ".md" if path is None else path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"--to: {to}: a table is written to a file that ends in .tex, .md or .csv")
    tables = kept_tables(study, store, tracking_uri)
    frame = tables(name)
    chosen = None if columns is None else [column.strip() for column in columns.split(",")]
    shown, common = publication.presentable(frame, name, chosen)
    if suffix == ".csv":
        text = frame[chosen or [*frame.columns]].to_csv(index=False)
    else:
        text = (publication.latex if suffix == ".tex" else publication.markdown)(shown, common)
    if path is None:
        typer.echo(text, nl=False)
    else:
        with written(path):
            path.write_text(text, encoding="utf-8")
        typer.echo(f"wrote {os.fspath(path)}: {len(frame)} rows")
    for line in tables.absent():
        typer.echo(line, err=True)
