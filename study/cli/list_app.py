"""The command line of `list`."""

from __future__ import annotations

from typing import Annotated

import typer

from study.cli.arguments import ImportsOption
from study.cli.signals import INTERRUPTS


def list_(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="architectures, tasks, distances, controls, rivals, mappings, measures, presets "
            "or taps.",
        ),
    ],
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="One entry; of presets its YAML, of taps an architecture, as in a spec.",
        ),
    ] = None,
    imports: ImportsOption = None,
) -> None:
    """List what a spec may name: archprior list presets quickstart > mine.yaml."""
    with INTERRUPTS.held():
        from study.cli import listing

    listing.show(kind, name, imports or [])
