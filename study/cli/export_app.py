"""The commands `export table`, `export study` and `export init`."""

from __future__ import annotations

from typing import Annotated

import typer

from analysis.names import DEFAULT_STORE
from study.cli.arguments import (
    FLAG,
    ImportsOption,
    StoreOption,
    StudyArgument,
    TrackingOption,
)
from study.cli.signals import INTERRUPTS

export = typer.Typer(help="Write what a study holds in other forms.", no_args_is_help=True)


@export.command("table")
def export_table(
    study: StudyArgument,
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Its name, such as transfer.")],
    to: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="File: .tex, .md or .csv; else Markdown is printed."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(metavar="COLUMNS", help="Columns with commas between; else the most telling."),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    tracking_uri: TrackingOption = None,
) -> None:
    """Write a table for a paper: archprior export table quickstart transfer --to transfer.tex."""
    with INTERRUPTS.held():
        from study.cli import exporting

    exporting.table(study, table, to, store, tracking_uri, columns)


@export.command("study")
def export_study(
    study: StudyArgument,
    to: Annotated[
        str | None, typer.Option(metavar="FILE", help="File that is not there yet; else STUDY.zip.")
    ] = None,
    weights: Annotated[
        bool, typer.Option("--weights", metavar=FLAG, help="The networks' weights, too.")
    ] = False,
    license: Annotated[
        str,
        typer.Option(
            metavar="LICENSE", help="SPDX identifier of the results, or a file with the text."
        ),
    ] = "unknown",
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write a study as one file, to share or keep: archprior export study quickstart --to q.zip."""
    with INTERRUPTS.held():
        from study.cli import bundling

    bundling.export(study, store, to, weights=weights, license=license)


@export.command("init")
def export_init(
    study: StudyArgument,
    replicate: Annotated[
        str, typer.Argument(metavar="REPLICATE", help="Its id, of the table replicates.")
    ],
    to: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="File that is not there yet; else REPLICATE.safetensors."
        ),
    ] = None,
    imports: ImportsOption = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Write weights as they are after alignment: archprior export init STUDY 0123456789abcdef.

    For replicates that are aligned before their training (align_first, or the rival aligned_start).
    The alignment is repeated, without the training. The rival from_weights takes the file up.
    """
    with INTERRUPTS.held():
        from study.cli import initialisation

    initialisation.export(study, replicate, store, to, imports or [])
