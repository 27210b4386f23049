"""The command `run`: the Python API with printed results."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import typer

from analysis.servers import masked
from study.cli import checking
from study.cli.arguments import seconds_of
from study.cli.matrix import print_matrix, print_sentences
from study.run import job
from study.run.descriptions import duration, failure_lines
from study.run.interrupts import Interrupts
from study.run.locations import tracking_uri_of
from study.study import Outcome, Study

if TYPE_CHECKING:
    pass


def run(
    spec: str,
    store: str,
    tracking_uri: str | None,
    *,
    address: str | None = None,
    wait: float | None = None,
    local: bool = False,
    debug: bool = False,
    retry: bool = False,
    page: bool = False,
    log_json: str | None = None,
    profile: bool = False,
    interrupts: Interrupts | None = None,
) -> Outcome:
    """Run a study and print its results; arguments and errors are those of `Study.run`."""
    study = Study.load(spec)
    if debug:
        store, tracking_uri = tempfile.mkdtemp(prefix="archprior-debug-"), None
    outcome = study.run(
        store=store,
        tracking_uri=tracking_uri,
        address=address,
        wait_seconds=seconds_of(wait),
        local=local,
        debug=debug,
        retry=retry,
        page=page,
        log_json=log_json,
        profile=profile,
        interrupts=interrupts,
    )
    print_matrix(outcome.tables["transfer"])
    _say_time(outcome)
    for line in failure_lines(outcome.progress):
        typer.echo(line)
    left = len(outcome.progress.todo)
    if left:
        are = "replicate is" if left == 1 else "replicates are"
        again = "archprior submit again" if job.inside() else f"archprior run {spec}"
        typer.echo(f"{left} {are} left to train; to go on: {again}")
    checking.say_summary(outcome.tables, study.name)
    place = outcome.progress.store
    typer.echo(f"tables: {(place.root / 'studies' / study.name).uri}/*.parquet")
    if outcome.report is not None:
        typer.echo(f"report: {outcome.report}")
    typer.echo(f"MLflow: {masked(tracking_uri_of(place, tracking_uri))}  (archprior ui)")
    print_sentences(outcome.tables["transfer"])
    return outcome


def _say_time(outcome: Outcome) -> None:
    seconds = sum(
        state.result.train_seconds
        for state in outcome.progress.states.values()
        if state.result is not None
    )
    typer.echo(f"training time of all replicates: {duration(seconds)}")
