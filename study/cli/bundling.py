"""The commands `export study` and `import`."""

from __future__ import annotations

from pathlib import Path

import typer

from analysis.hints import command
from study.bundle import bringing, writing
from study.cli.checking import not_written
from study.cli.studies import size
from study.errors import SpecError


def export(study: str, store: str, to: str | None, *, weights: bool, license: str) -> None:
    """Write a study as a bundle, and say what is in it."""
    path = to or f"{study}.zip"
    if Path(path).exists():
        raise SpecError(f"--to: {path} exists; give another name, or remove it first")
    with not_written() as unsaid:
        written = writing.export(study, store, path, weights=weights, license=license)
    for line in unsaid:
        typer.echo(line, err=True)
    absent = f", {written.num_absent} without a result left out" if written.num_absent else ""
    typer.echo(
        f"wrote {written.path}: {written.num_replicates} replicates{absent}, "
        f"{size(written.num_bytes)}; {'with' if weights else 'without'} weights"
    )


def import_(path: str, store: str, *, max_gib: float) -> None:
    """Bring a bundle into a store, and say what can be done with it."""
    brought = bringing.bring(path, store, max_gib=max_gib)
    for line in bringing.lines(brought):
        typer.echo(line)
    onward = [command(name, brought.study, store=store) for name in ("status", "analyze")]
    typer.echo(f"{' and '.join(onward)} go on from here")
