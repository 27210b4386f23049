"""The command line of `advise`."""

from __future__ import annotations

from typing import Annotated

import typer

from analysis.names import DEFAULT_STORE
from study.cli.arguments import JsonOption, SpecArgument, StoreOption
from study.cli.signals import INTERRUPTS


def advise(
    spec: SpecArgument,
    store: StoreOption = DEFAULT_STORE,
    seeds: Annotated[
        int, typer.Option(min=1, help="Look at so many seeds of the spec, at most.", metavar="N")
    ] = 3,
    json: JsonOption = False,
) -> None:
    """Rank a spec's guides before training, and say how good such ranks were; starts nothing."""
    with INTERRUPTS.held():
        from study.cli import advising

    advising.show(spec, store, num_seeds=seeds, as_json=json)
