"""The command `doctor`: a line for each check, as it is made."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer
from rich.text import Text

from study.cli.console import wide_console
from study.cluster import doctor
from study.run.environment import prepare


def examine(store: str, tracking_uri: str | None, address: str | None, *, as_json: bool) -> int:
    """Print what is good and what is not; returns 1 if anything is wrong, else 0."""
    prepare(starts_ray=False)
    console, found = wide_console(), []
    for each in doctor.examine(store, tracking_uri, address):
        found.append(each)
        if not as_json:
            mark = Text("ok    ", "green") if each.problem is None else Text("wrong ", "bold red")
            line = ": ".join(filter(None, (each.subject, each.text, each.problem)))
            console.print(mark + Text(line), soft_wrap=True)
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found], indent=1))
    return int(any(each.problem is not None for each in found))
