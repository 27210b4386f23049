"""The command `gc`: what a store does not need, by kind, with its size."""

from __future__ import annotations

import json

import typer

from study import waste
from study.cli.studies import size
from study.run.locations import find_store


def collect(store: str, *, dry_run: bool, unused: bool, as_json: bool) -> None:
    """Remove the waste of a store, and say what it was; with `dry_run` only say it."""
    place = find_store(store)
    found = waste.find(place, unused=unused)
    if not dry_run:
        for each in found:
            waste.remove(place, each)
    total = sum(each.num_bytes for each in found)
    if as_json:
        entries = [
            {"kind": each.kind.name, "path": each.path, "bytes": each.num_bytes} for each in found
        ]
        content = {"store": place.uri, "removed": not dry_run, "bytes": total, "waste": entries}
        typer.echo(json.dumps(content, indent=1))
        return
    for kind in waste.Kind:
        of_kind = [each.num_bytes for each in found if each.kind == kind]
        if of_kind:
            typer.echo(f"{kind}: {len(of_kind)}, {size(sum(of_kind))}")
    if not found:
        typer.echo(f"nothing to remove in {place.uri}")
    else:
        would = "would be removed from" if dry_run else "removed from"
        typer.echo(f"{size(total)} ({total} bytes) {would} {place.uri}")
