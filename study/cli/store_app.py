"""The commands about a store as a whole: `studies`, `gc`, `import`."""

from __future__ import annotations

from typing import Annotated

import typer

from analysis.names import DEFAULT_STORE
from study.cli.arguments import FLAG, JsonOption, StoreOption
from study.cli.signals import INTERRUPTS


def studies(store: StoreOption = DEFAULT_STORE, json: JsonOption = False) -> None:
    """List the studies of a store: replicates, verdicts, size, last run, question."""
    with INTERRUPTS.held():
        from study.cli import studies as module

    module.show(store, as_json=json)


def gc(
    store: StoreOption = DEFAULT_STORE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar=FLAG, help="Say what would go, and remove nothing.")
    ] = False,
    unused: Annotated[
        bool,
        typer.Option(
            "--unused", metavar=FLAG, help="Replicates that no study of the store has, too."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Remove what no study needs: left checkpoints, temporaries, old leases, guide caches."""
    with INTERRUPTS.held():
        from study.cli import gc as module

    module.collect(store, dry_run=dry_run, unused=unused, as_json=json)


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What export study wrote.")],
    store: StoreOption = DEFAULT_STORE,
    max_gib: Annotated[
        float, typer.Option(min=0, metavar="GIB", help="Most GiB, when unpacked.")
    ] = 20.0,
) -> None:
    """Bring an exported study into a store, with its ids; what the store has stays."""
    with INTERRUPTS.held():
        from study.cli import bundling

    bundling.import_(file, store, max_gib=max_gib)
