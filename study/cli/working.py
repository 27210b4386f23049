"""The command `work`: one process of many on a study."""

from __future__ import annotations

import signal

import typer

from analysis.contract import Status
from analysis.hints import command
from study.errors import SpecError
from study.run.interrupts import Interruption, Interrupts
from study.run.locations import existing_store, tracking_uri_of
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
    typer.echo(f"{_last(spec, store)} writes the tables and MLflow")
    return 0 if progress.complete else 1


def _last(spec: str, store: str) -> str:
    """The command that has nothing to train when all workers are done."""
    try:
        tracking_uri_of(existing_store(store), None)
    except SpecError:
        # The store cannot hold a database, as on a network file system.
        return command("run", spec, "--local", "--tracking-uri", "http://HOST:5000", store=store)
    return command("run", spec, "--local", store=store)
