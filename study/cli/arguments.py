"""Arguments and options that several commands share; imports nothing heavy."""

from __future__ import annotations

from typing import Annotated

import typer

STORE = "archprior-store"

SpecArgument = Annotated[str, typer.Argument(metavar="SPEC", help="A preset or a YAML file.")]
StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="A study in the store.")]
StoreOption = Annotated[str, typer.Option("--store", help="Folder or bucket URI.")]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri", help="MLflow; by default sqlite in the store.", show_default=False
    ),
]
AddressOption = Annotated[str | None, typer.Option(help="A Ray cluster; else this machine.")]
WaitOption = Annotated[
    float | None,
    typer.Option("--wait", min=0, help="Minutes to wait for a node with room; else for ever."),
]
LocalOption = Annotated[
    bool, typer.Option("--local", help="In this process, without Ray: one worker.")
]
PageOption = Annotated[
    bool, typer.Option("--page", help="Write the report every 10 s meanwhile; it reloads itself.")
]
LogOption = Annotated[
    str | None,
    typer.Option(
        "--log-json", metavar="FILE", help="Append what happens to FILE as lines of JSON."
    ),
]
ProfileOption = Annotated[
    bool, typer.Option("--profile", help="Trace some steps of one replicate, for chrome://tracing.")
]
ImportsOption = Annotated[
    list[str] | None,
    typer.Option("--imports", help="A .py file or package folder of yours; may be repeated."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def seconds_of(minutes: float | None) -> float | None:
    """Minutes of an option in seconds; None if it was not given."""
    return None if minutes is None else 60 * minutes
