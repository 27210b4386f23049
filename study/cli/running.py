"""The command `run`: the Python API with printed results."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext

import typer

from analysis.hints import command
from analysis.quantities import duration
from study.cli import checking
from study.cli.arguments import seconds_of
from study.cli.matrix import print_matrix, print_sentences
from study.run import job
from study.run.descriptions import failure_lines
from study.run.interrupts import Interrupts
from study.run.locations import tracking_uri_of
from study.study import Outcome, Study
from trainers.secrets import masked
from trainers.store.store import Store

#: Begin of the names of throw-away stores.
_DEBUG = "archprior-debug-"
_MOST_TRACEBACKS = 3


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
    again: Sequence[str] | None = None,
) -> Outcome:
    """Run a study and print its results; `again` is the command that goes on, if any can.

    With `debug` the store is thrown away at the end, unless it holds the trace of a `profile`.
    Other arguments and errors are those of `Study.run`.
    """
    study = Study.load(spec)
    with _throw_away(kept=profile) if debug else nullcontext(store) as place:
        outcome = study.run(
            store=place,
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
        for line in _left_lines(outcome, again):
            typer.echo(line)
        check = None if debug else command("check", study.name, store=place)
        checking.say_summary(outcome.tables, check)
        if not debug:
            _say_places(outcome, study.name, tracking_uri)
        print_sentences(outcome.tables["transfer"])
    return outcome


@contextmanager
def _throw_away(*, kept: bool) -> Iterator[str]:
    """A store that is removed at the end, after the tracebacks in it were printed."""
    with ExitStack() as stack:
        if kept:
            folder = tempfile.mkdtemp(prefix=_DEBUG)
            stack.callback(typer.echo, f"store, kept for its trace: {folder}")
        else:
            # Threads that an interruption left behind may write still.
            made = tempfile.TemporaryDirectory(prefix=_DEBUG, ignore_cleanup_errors=True)
            folder = stack.enter_context(made)
        stack.callback(_print_tracebacks, Store(folder))
        yield folder


def _print_tracebacks(store: Store) -> None:
    """Print the traceback of each kind of failure in a store; of many, the first ones."""
    found = dict[str, None]()
    for name in (store.root / "replicates").names():
        failure = store.replicate(name).failure()
        if failure is not None:
            found.setdefault(failure.traceback)
    for text in [*found][:_MOST_TRACEBACKS]:
        typer.echo(masked(text), err=True)


def _left_lines(outcome: Outcome, again: Sequence[str] | None) -> Iterator[str]:
    """Lines on failed replicates, and on those that are left to train."""
    if again is None:
        yield from failure_lines(outcome.progress, None)
        return
    name, action, *options = again
    retry = ["SPEC" if job.inside() else options[0], *options[1:]]
    yield from failure_lines(outcome.progress, masked(shlex.join([name, "retry", *retry])))
    left = len(outcome.progress.todo)
    if left:
        are = "replicate is" if left == 1 else "replicates are"
        onward = masked(shlex.join([name, action, *options]))
        yield f"{left} {are} left to train; to go on: {onward}"


def _say_places(outcome: Outcome, study: str, tracking_uri: str | None) -> None:
    store = outcome.progress.store
    typer.echo(f"tables: {masked((store.root / 'studies' / study).uri)}/*.parquet")
    if outcome.report is not None:
        typer.echo(f"report: {masked(outcome.report)}")
    typer.echo(_mlflow_line(store, tracking_uri))


def _mlflow_line(store: Store, tracking_uri: str | None) -> str:
    """The place of MLflow, and the command that shows it where it is no server."""
    uri = tracking_uri_of(store, tracking_uri)
    if uri.startswith(("http://", "https://")):
        return f"MLflow: {masked(uri)}"
    given = [] if tracking_uri is None else ["--tracking-uri", tracking_uri]
    return f"MLflow: {masked(uri)}  ({command('ui', *given, store=store.uri)})"


def _say_time(outcome: Outcome) -> None:
    seconds = sum(
        state.result.train_seconds
        for state in outcome.progress.states.values()
        if state.result is not None
    )
    typer.echo(f"training time of all replicates: {duration(seconds)}")
