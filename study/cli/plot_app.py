"""The command line of `plot`."""

from __future__ import annotations

from typing import Annotated

import typer

from analysis.names import DEFAULT_STORE
from study.cli.arguments import StoreOption, StudyArgument, TrackingOption
from study.cli.signals import INTERRUPTS


def plot(
    study: StudyArgument,
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="matrix, forest, curves, dial, alignment or consistency."
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="File: .svg, .pdf or .png; else STUDY-KIND.svg."),
    ] = None,
    task: Annotated[str | None, typer.Option(metavar="TASK", help="This task alone.")] = None,
    target: Annotated[str | None, typer.Option(metavar="TARGET", help="This target alone.")] = None,
    guide: Annotated[str | None, typer.Option(metavar="GUIDE", help="This guide alone.")] = None,
    metric: Annotated[
        str | None,
        typer.Option(metavar="METRIC", help="Metric; of curves as in the history: train/loss."),
    ] = None,
    value: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Matrix, dial: a column, such as specific or knowledge."
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    tracking_uri: TrackingOption = None,
) -> None:
    """Draw a figure of a study: archprior plot quickstart forest --to forest.pdf."""
    with INTERRUPTS.held():
        from study.cli import plotting

    choice = {"task": task, "target": target, "guide": guide, "metric": metric, "value": value}
    plotting.plot(study, kind, to, store, tracking_uri, choice)
