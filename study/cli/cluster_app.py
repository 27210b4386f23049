"""The commands about Ray clusters: `submit`, `jobs list|status|logs|stop`, `doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from analysis.names import DEFAULT_STORE
from study.cli.arguments import (
    FLAG,
    AddressOption,
    GraceOption,
    JsonOption,
    SpecArgument,
    StoreOption,
    TrackingOption,
    WaitOption,
)
from study.cli.signals import INTERRUPTS, interruptible
from study.run.interrupts import GRACE_SECONDS

jobs = typer.Typer(help="Studies that were submitted to a Ray cluster.", no_args_is_help=True)

DashboardOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="Dashboard of the cluster (http://...:8265); else this machine's.",
    ),
]
JobArgument = Annotated[str, typer.Argument(metavar="STUDY", help="A study that was submitted.")]


def submit(
    spec: SpecArgument,
    store: Annotated[
        str, typer.Option("--store", metavar="STORE", help="Shared folder or bucket URI.")
    ],
    tracking_uri: TrackingOption = None,
    address: DashboardOption = None,
    wait: WaitOption = None,
    grace: GraceOption = GRACE_SECONDS,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", metavar=FLAG, help="Print what it prints, until it ends."),
    ] = False,
) -> None:
    """Run a study as a job of a Ray cluster: archprior submit quickstart --store s3://lab/store."""
    with INTERRUPTS.held():
        from study.cli import jobs as module

    raise typer.Exit(module.submit(spec, store, tracking_uri, address, wait, grace, follow=follow))


@jobs.command("list")
def list_(address: DashboardOption = None) -> None:
    """List the jobs of all studies, and how they stand."""
    with INTERRUPTS.held():
        from study.cli import jobs as module

    module.show(address)


@jobs.command()
def status(study: JobArgument, address: DashboardOption = None) -> None:
    """Say how the last job of a study stands; exit status 1 where it has failed."""
    with INTERRUPTS.held():
        from study.cli import jobs as module

    raise typer.Exit(module.status(study, address))


@jobs.command()
def logs(
    study: JobArgument,
    address: DashboardOption = None,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", metavar=FLAG, help="Go on until it ends; Ctrl-C leaves it running."
        ),
    ] = False,
) -> None:
    """Print what the last job of a study has printed."""
    with INTERRUPTS.held():
        from study.cli import jobs as module

    raise typer.Exit(module.logs(study, address, follow=follow))


@jobs.command()
def stop(study: JobArgument, address: DashboardOption = None) -> None:
    """Stop the last job of a study at its next checkpoints; submit it again to go on."""
    with INTERRUPTS.held():
        from study.cli import jobs as module

    module.stop(study, address)


def doctor(
    store: StoreOption = DEFAULT_STORE,
    tracking_uri: TrackingOption = None,
    address: AddressOption = None,
    json: JsonOption = False,
) -> None:
    """Try what a run needs, here or on every node of a cluster, and say what is wrong."""
    with INTERRUPTS.held():
        from study.cli import doctor as module

    with interruptible(None):
        status = module.examine(store, tracking_uri, address, as_json=json)
    raise typer.Exit(status)
