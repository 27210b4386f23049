"""Arguments and options that several commands share; imports nothing heavy."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

#: Address that `ui` listens on by default.
HOST = "127.0.0.1"
_LOCALLY = "without Ray there is no cluster"
#: Options of a run that contradict each other, and why.
_EXCLUDING = (
    ("local", "address", _LOCALLY),
    ("local", "wait", _LOCALLY),
    ("debug", "store", "a throw-away store is used"),
    ("debug", "tracking_uri", "a throw-away MLflow is used"),
)
_BASES = ("torch", "ray", "mlflow")
#: Flags take no value: help shows no type of one.
FLAG = ""

SpecArgument = Annotated[str, typer.Argument(metavar="SPEC", help="A preset or a YAML file.")]
StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="A study in the store.")]
StoreOption = Annotated[str, typer.Option("--store", metavar="STORE", help="Folder or bucket URI.")]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri", metavar="URI", help="MLflow; by default sqlite in the store.",
        show_default=False,
    ),
]  # fmt: skip
#: Of commands that read the store alone, so that a command needs no other options than `run`.
UnusedTrackingOption = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri", metavar="URI", help="As of run; nothing is read from MLflow.",
        show_default=False,
    ),
]  # fmt: skip
AddressOption = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="A Ray cluster; else this machine.")
]
WaitOption = Annotated[
    float | None,
    typer.Option(
        "--wait",
        min=0,
        metavar="MINUTES",
        help="Wait so long for a node with room; without it, as long as it takes.",
    ),
]
GraceOption = Annotated[
    int,
    typer.Option(
        "--grace",
        min=0,
        max=24 * 3600,
        metavar="SECONDS",
        help="After a signal, train on so long to the next checkpoints; then end without them.",
    ),
]
LocalOption = Annotated[
    bool, typer.Option("--local", metavar=FLAG, help="In this process, without Ray: one worker.")
]
PageOption = Annotated[
    bool,
    typer.Option(
        "--page", metavar=FLAG, help="Write the report every 10 s meanwhile; it reloads itself."
    ),
]
LogOption = Annotated[
    str | None,
    typer.Option(
        "--log-json", metavar="FILE", help="Append what happens to FILE as lines of JSON."
    ),
]
ProfileOption = Annotated[
    bool,
    typer.Option(
        "--profile", metavar=FLAG, help="Trace some steps of one replicate, for chrome://tracing."
    ),
]
ImportsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--imports", metavar="PATH", help="A .py file or package folder of yours; may be repeated."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", metavar=FLAG, help="Print JSON, for programs.")]


def _show_version(wanted: bool) -> None:
    """Print the versions of archprior and of what it stands on, from their metadata, and end."""
    if wanted:
        ours, *others = (f"{name} {version(name)}" for name in ("archprior", *_BASES))
        typer.echo(f"{ours} ({', '.join(others)})")
        raise typer.Exit


VersionOption = Annotated[
    bool,
    typer.Option(
        "--version", metavar=FLAG, callback=_show_version, is_eager=True, help="Say the version."
    ),
]


def refuse_both(**given: object) -> None:
    """Raise UserError where two options exclude each other, of a run's by their names."""
    from trainers.errors import UserError

    # A number of 0 is given, too.
    set_ = {name for name, value in given.items() if value is not None and value is not False}
    for first, second, why in _EXCLUDING:
        if {first, second} <= set_:
            one, two = (f"--{name.replace('_', '-')}" for name in (first, second))
            raise UserError(f"{one} and {two} exclude each other: {why}; leave one out")


def begins(spec: str) -> None:
    """Tell a person at a terminal that there is work before the first result is printed."""
    if sys.stderr.isatty():
        typer.echo(f"planning {spec} ...", err=True)


def seconds_of(minutes: float | None) -> float | None:
    """Minutes of an option in seconds; None if it was not given."""
    return None if minutes is None else 60 * minutes
