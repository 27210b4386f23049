"""The command line: `archprior` and `python -m study`."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated, Any, NoReturn

import typer

from analysis.names import DEFAULT_STORE
from study.cli.advise_app import advise
from study.cli.arguments import (
    FLAG,
    HOST,
    AddressOption,
    GraceOption,
    ImportsOption,
    JsonOption,
    LocalOption,
    LogOption,
    PageOption,
    ProfileOption,
    SpecArgument,
    StoreOption,
    StudyArgument,
    TrackingOption,
    UnusedTrackingOption,
    VersionOption,
    WaitOption,
    begins,
    refuse_both,
    seconds_of,
)
from study.cli.cluster_app import doctor, jobs, submit
from study.cli.exits import status_of
from study.cli.export_app import export
from study.cli.list_app import list_
from study.cli.plot_app import plot
from study.cli.signals import INTERRUPTS, interruptible
from study.cli.store_app import gc, import_, studies
from study.run import job
from study.run.interrupts import GRACE_SECONDS

app = typer.Typer(
    help="Architecture-prior studies: declare, run on Ray, track in MLflow, analyse.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(export, name="export")
app.add_typer(jobs, name="jobs")


app.command("list")(list_)


@app.callback()
def _every(version: VersionOption = False) -> None:  # noqa: ARG001
    with INTERRUPTS.held():
        from trainers.store import outages

    # Workers would find the mistake only when a bucket is asked.
    outages.seconds_to_wait()


@app.command()
def validate(spec: SpecArgument) -> None:
    """Say whether a spec is good, each of its parts tried on a few examples; starts nothing."""
    begins(spec)
    with INTERRUPTS.held():
        from study.study import Study

    study = Study.load(spec)
    plan = study.validate()
    typer.echo(f"{study.name}: good; {len(plan.conditions)} conditions, {len(plan)} replicates")
    for note in plan.notes():
        typer.echo(note)


@app.command("plan")
def plan_(
    spec: SpecArgument,
    store: StoreOption = DEFAULT_STORE,
    tracking_uri: UnusedTrackingOption = None,  # noqa: ARG001
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", metavar=FLAG, help="Time a few steps instead of counting operations."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Print trials, replicates, what is done already, and the expected cost; starts nothing."""
    with INTERRUPTS.held():
        from study.cli import planning

    planning.show(spec, store, measure=measure, as_json=json)


app.command()(advise)


@app.command()
def run(
    spec: SpecArgument,
    store: StoreOption = DEFAULT_STORE,
    tracking_uri: TrackingOption = None,
    address: AddressOption = None,
    wait: WaitOption = None,
    local: LocalOption = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", metavar=FLAG, help="Two steps, one seed, in a throw-away store."),
    ] = False,
    page: PageOption = False,
    log_json: LogOption = None,
    profile: ProfileOption = False,
    grace: GraceOption = GRACE_SECONDS,
) -> None:
    """Train what is missing, then analyse; run again to resume: archprior run quickstart."""
    how: dict[str, Any] = {"address": address, "wait": wait, "local": local, "page": page}
    how |= {"log_json": log_json, "profile": profile}
    _train(spec, store, tracking_uri, grace, debug=debug, **how)


@app.command()
def retry(
    spec: SpecArgument,
    store: StoreOption = DEFAULT_STORE,
    tracking_uri: TrackingOption = None,
    address: AddressOption = None,
    wait: WaitOption = None,
    local: LocalOption = False,
    page: PageOption = False,
    log_json: LogOption = None,
    profile: ProfileOption = False,
    grace: GraceOption = GRACE_SECONDS,
) -> None:
    """Train failed and blocked replicates again, and what is missing."""
    how: dict[str, Any] = {"address": address, "wait": wait, "local": local, "page": page}
    how |= {"log_json": log_json, "profile": profile}
    _train(spec, store, tracking_uri, grace, retry=True, **how)


@app.command()
def work(
    spec: SpecArgument,
    store: StoreOption = DEFAULT_STORE,
    log_json: LogOption = None,
    profile: ProfileOption = False,
    grace: GraceOption = GRACE_SECONDS,
) -> None:
    """Train as one of many processes on a shared store, without Ray: for arrays of batch jobs."""
    with INTERRUPTS.held():
        from study.cli import working

    INTERRUPTS.grace_seconds = grace
    raise typer.Exit(working.work(spec, store, INTERRUPTS, log_json=log_json, profile=profile))


app.command()(submit)
app.command()(doctor)


@app.command()
def status(
    study: StudyArgument,
    store: StoreOption = DEFAULT_STORE,
    tracking_uri: UnusedTrackingOption = None,  # noqa: ARG001
    json: JsonOption = False,
) -> None:
    """Show states, rate, time left and causes of failures of a study, from its store."""
    with INTERRUPTS.held():
        from study.run import status as module

    module.show(study, store, as_json=json)


app.command()(studies)
app.command()(gc)


@app.command()
def analyze(
    study: StudyArgument, store: StoreOption = DEFAULT_STORE, tracking_uri: TrackingOption = None
) -> None:
    """Write a study's tables anew from the store, or from MLflow where that is all there is."""
    with INTERRUPTS.held():
        from study.cli import analyzing

    analyzing.analyze(study, store, tracking_uri)


@app.command()
def report(
    study: StudyArgument,
    store: StoreOption = DEFAULT_STORE,
    tracking_uri: TrackingOption = None,
    show: Annotated[
        bool, typer.Option("--open", metavar=FLAG, help="Open it in the browser.")
    ] = False,
) -> None:
    """Write a study's report, one page for any browser: archprior report quickstart --open."""
    with INTERRUPTS.held():
        from study.cli import reporting

    reporting.report(study, store, tracking_uri, show=show)


@app.command()
def check(
    study: StudyArgument,
    store: StoreOption = DEFAULT_STORE,
    tracking_uri: UnusedTrackingOption = None,  # noqa: ARG001
    spec: Annotated[
        str | None,
        typer.Option(
            "--spec",
            metavar="SPEC",
            help="Rules of this preset or YAML file instead.",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Set what a study's spec expects beside what came out; 1 when a rule does not hold."""
    with INTERRUPTS.held():
        from study.cli import checking

    raise typer.Exit(0 if checking.check(study, store, spec, as_json=json) else 1)


@app.command()
def confirm(
    study: StudyArgument,
    store: StoreOption = DEFAULT_STORE,
    tracking_uri: TrackingOption = None,
    address: AddressOption = None,
    wait: WaitOption = None,
    local: LocalOption = False,
    seeds: Annotated[
        int | None,
        typer.Option(help="Number of fresh seeds; else as many as the study has.", metavar="N"),
    ] = None,
    anew: Annotated[
        bool,
        typer.Option(
            "--anew", metavar=FLAG, help="Freeze what the spec has now, for other fresh seeds."
        ),
    ] = False,
    imports: ImportsOption = None,
    retry: Annotated[
        bool, typer.Option("--retry", metavar=FLAG, help="Failed replicates again, too.")
    ] = False,
    log_json: LogOption = None,
    grace: GraceOption = GRACE_SECONDS,
) -> None:
    """Freeze a study's rules and named rows, train unused seeds, and say which are confirmed."""
    refuse_both(local=local, address=address, wait=wait)
    again = ["archprior", "confirm", study, *([] if seeds is None else ["--seeds", str(seeds)])]
    again += _options(
        store, tracking_uri, grace, address=address, wait=wait, local=local, log_json=log_json
    )
    again += [part for path in imports or () for part in ("--imports", path)]
    INTERRUPTS.grace_seconds = grace
    with interruptible(again):
        with INTERRUPTS.held():
            from study.cli import confirming
        confirmed = confirming.confirm(
            study, store, tracking_uri, seeds=seeds, anew=anew, imports=imports or [],
            address=address, wait_seconds=seconds_of(wait), local=local, retry=retry,
            log_json=log_json, interrupts=INTERRUPTS, again=shlex.join(again),
        )  # fmt: skip
    raise typer.Exit(0 if confirmed else 1)


app.command()(plot)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="[STORE:]STUDY[@COMMIT].")],
    second: Annotated[str, typer.Argument(metavar="B", help="The same, of the other side.")],
    store: StoreOption = DEFAULT_STORE,
    store_b: Annotated[
        str | None, typer.Option("--store-b", metavar="STORE", help="Store of B alone.")
    ] = None,
    page: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write an HTML page to this file, too.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare two studies, paired by seed: archprior compare quickstart /old/store:quickstart."""
    with INTERRUPTS.held():
        from study.cli import comparing

    comparing.compare(first, second, store, store_b, page_to=page, as_json=json)


app.command("import")(import_)


@app.command()
def ui(
    store: StoreOption = DEFAULT_STORE,
    tracking_uri: TrackingOption = None,
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = HOST,
    port: Annotated[
        int, typer.Option(metavar="PORT", help="Port to listen on.", min=1, max=65535)
    ] = 5000,
    no_open: Annotated[
        bool, typer.Option("--no-open", metavar=FLAG, help="Open no browser.")
    ] = False,
) -> None:
    """Serve the MLflow UI on a store and open it in the browser; Ctrl-C ends it."""
    with INTERRUPTS.held():
        from study.cli import ui as module

    with interruptible(None):
        module.ui(store, tracking_uri, host, port, open_browser=not no_open)


def _train(
    spec: str,
    store: str,
    tracking_uri: str | None,
    grace: int,
    *,
    debug: bool = False,
    **how: Any,
) -> NoReturn:
    """Run a study, and end: 0 when all is finished, 1 when not, 128 + n after signal n."""
    stored = None if store == DEFAULT_STORE else store
    refuse_both(store=stored, tracking_uri=tracking_uri, debug=debug, **how)
    again = ["archprior", "run", spec, *_options(store, tracking_uri, grace, **how)]
    if job.inside():
        # The spec here is a copy that no other machine has.
        options = _options(DEFAULT_STORE, tracking_uri, grace, wait=how["wait"])
        again = ["archprior", "submit", "SPEC", "--store", store, *options]
    INTERRUPTS.grace_seconds = grace
    with interruptible(None if debug else again):
        begins(spec)
        with INTERRUPTS.held():
            from study.cli import running
        outcome = running.run(
            spec,
            store,
            tracking_uri,
            debug=debug,
            again=None if debug else again,
            interrupts=INTERRUPTS,
            **how,
        )
    raise typer.Exit(0 if outcome.complete else 1)


def _options(
    store: str,
    tracking_uri: str | None,
    grace: int,
    *,
    address: str | None = None,
    wait: float | None = None,
    local: bool = False,
    page: bool = False,
    log_json: str | None = None,
    retry: bool = False,  # noqa: ARG001  done once, what failed is missing
    profile: bool = False,  # noqa: ARG001  one trace is enough
) -> list[str]:
    """Options of a run that its continuation needs."""
    minutes = None if wait is None else f"{wait:g}"
    given = {"--tracking-uri": tracking_uri, "--address": address, "--wait": minutes}
    given |= {"--log-json": log_json, "--grace": None if grace == GRACE_SECONDS else str(grace)}
    options = [] if store == DEFAULT_STORE else ["--store", store]
    options += [part for name, value in given.items() if value for part in (name, value)]
    flags = {"--local": local, "--page": page}
    return [*options, *(name for name, value in flags.items() if value)]


def main() -> NoReturn:
    """Run the command line; `study.cli.exits` defines its exit statuses."""
    with INTERRUPTS:
        status = _status()
    sys.exit(status)


def _status() -> int:
    try:
        result: Any = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTS.status
    except Exception as error:
        if INTERRUPTS.broke_in:
            return INTERRUPTS.status
        return status_of(error)
    return result if isinstance(result, int) else 0
