"""The command `work`: one process of many on a study."""

from __future__ import annotations

import signal

import typer

from analysis.contract import Status
from analysis.hints import command
from study.run.interrupts import Interruption, Interrupts
from study.run.locations import tracking_options
from study.study import Study


def work(
    spec: str, store: str, interrupts: Interrupts, *, log_json: str | None, profile: bool
) -> int:
    """Work on a study; returns the exit status. Arguments are those of `Study.work`.

    It is 0 when all is finished, and after SIGTERM, which a batch system sends to what it will
    start again; 1 where something failed.
    """
    study = Study.load(spec)
    try:
        progress = study.work(
            store=store, log_json=log_json, profile=profile, interrupts=interrupts, say=typer.echo
        )
    except Interruption as interruption:
        typer.echo(f"{interruption.message}: {study.name} goes on from its checkpoints", err=True)
        return 0 if interrupts.status == 128 + signal.SIGTERM else interrupts.status
    counts = progress.counts()
    left = [f"{counts[status]} {status}" for status in Status if counts[status]]
    typer.echo(f"{study.name}: {', '.join(left)}")
    options = tracking_options(progress.store)
    last = command("run", spec, "--local", *options, store=store)
    where = "; HOST is where an `mlflow server` runs" if options else ""
    typer.echo(f"{last} writes the tables and MLflow{where}")
    return 0 if progress.complete else 1
