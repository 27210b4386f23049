"""The commands `submit` and `jobs`, as a person reads them."""

from __future__ import annotations

import asyncio
import time

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from analysis.hints import command
from analysis.quantities import duration
from study.cli.console import wide_console
from study.cluster.jobs import Job, Jobs
from study.cluster.places import check_places
from study.study import Study
from trainers.secrets import masked


def submit(
    spec: str,
    store: str,
    tracking_uri: str | None,
    address: str | None,
    wait: float | None,
    grace: int,
    *,
    follow: bool,
) -> int:
    """Submit a study, and say how to go on; with `follow` print what the job prints.

    Returns 1 where it was followed and has not succeeded, else 0.
    """
    check_places(store, tracking_uri)
    study = Study.load(spec)
    study.plan()
    jobs = Jobs(address)
    job = jobs.submit(study, store=store, tracking_uri=tracking_uri, wait=wait, grace=grace)
    typer.echo(f"submitted {job.id} to {masked(jobs.address)}")
    typer.echo(f"{_command('logs', study.name, address, '-f')}   what it prints")
    typer.echo(f"{_command('stop', study.name, address)}   stop it at its next checkpoints")
    return _follow(jobs, job, address) if follow else 0


def _command(name: str, study: str, address: str | None, *options: str) -> str:
    given = [] if address is None else ["--address", address]
    return command("jobs", name, study, *options, *given)


def show(address: str | None) -> None:
    """Print a table of all jobs."""
    found = Jobs(address).all()
    if not found:
        typer.echo("no study was submitted to this cluster")
        return
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("study", "job", "status", "started", "store"):
        table.add_column(name)
    for job in found:
        ago = "" if job.started is None else f"{duration(time.time() - job.started)} ago"
        table.add_row(*map(Text, (job.study, job.id, job.status.lower(), ago, masked(job.store))))
    wide_console().print(table)


def status(study: str, address: str | None) -> int:
    """Print one line on the last job of a study; returns 1 where it has failed, else 0."""
    job = Jobs(address).last(study)
    # A failed job's message ends with the last lines of its log.
    first = (job.message.splitlines() or [""])[0]
    typer.echo(": ".join(filter(None, (job.id, job.status.lower(), masked(first)))))
    return int(job.status == "FAILED")


def logs(study: str, address: str | None, *, follow: bool) -> int:
    """Print the logs of the last job of a study; returns 1 if it was followed and has failed."""
    jobs = Jobs(address)
    job = jobs.last(study)
    if follow:
        return _follow(jobs, job, address)
    typer.echo(jobs.logs(job), nl=False)
    return 0


def stop(study: str, address: str | None) -> None:
    """Stop the last job of a study, and wait for that."""
    jobs = Jobs(address)
    job = jobs.last(study)
    if job.is_over:
        typer.echo(f"{job.id}: {job.status.lower()} already")
        return
    typer.echo(f"{job.id}: its workers go on to their next checkpoints ...")
    job = jobs.stop(job)
    given = [] if address is None else ["--address", address]
    again = command("submit", "SPEC", *given, *job.options)
    typer.echo(f"{job.id}: {job.status.lower()}; {again} goes on from there")


def _follow(jobs: Jobs, job: Job, address: str | None) -> int:
    async def printing() -> None:
        async for part in jobs.follow(job):
            typer.echo(part, nl=False)

    try:
        asyncio.run(printing())
    except KeyboardInterrupt:
        stop = _command("stop", job.study, address)
        typer.echo(f"\n{job.id} goes on; {stop} stops it", err=True)
        raise
    return int(jobs.get(job.id).status != "SUCCEEDED")
