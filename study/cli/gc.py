"""The command `gc`: what a store does not need, by kind, with its size."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from study import waste
from study.cli.studies import size
from study.errors import SpecError
from study.run.locations import existing_store
from trainers.secrets import masked

if TYPE_CHECKING:
    from study.waste import Waste
    from trainers.store.store import Store


def collect(store: str, *, dry_run: bool, unused: bool, as_json: bool) -> None:
    """Remove the waste of a store, and say what it was; with `dry_run` only say it.

    What cannot be removed keeps nothing else: SpecError, with the first cause, comes at the end.
    """
    place = existing_store(store)
    found = waste.find(place, unused=unused)
    errors: list[SpecError] = []
    if not dry_run:
        found = [each for each in found if _goes(place, each, errors)]
    _say(found, place, dry_run=dry_run, as_json=as_json)
    if errors:
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise SpecError(f"{errors[0]}{more}")


def _goes(place: Store, each: Waste, errors: list[SpecError]) -> bool:
    """Remove waste; whether it went. An error is appended to `errors`."""
    try:
        return waste.remove(place, each)
    except SpecError as error:
        errors.append(error)
        return False


def _say(found: Sequence[Waste], place: Store, *, dry_run: bool, as_json: bool) -> None:
    total = sum(each.num_bytes for each in found)
    if as_json:
        entries = [
            {"kind": each.kind.name, "path": each.path, "bytes": each.num_bytes} for each in found
        ]
        content = {
            "store": masked(place.uri),
            "removed": not dry_run,
            "bytes": total,
            "waste": entries,
        }
        typer.echo(json.dumps(content, indent=1))
        return
    for kind in waste.Kind:
        of_kind = [each.num_bytes for each in found if each.kind == kind]
        if of_kind:
            typer.echo(f"{kind}: {len(of_kind)}, {size(sum(of_kind))}")
    if not found:
        typer.echo(f"nothing {'to remove in' if dry_run else 'removed from'} {masked(place.uri)}")
    else:
        would = "would be removed from" if dry_run else "removed from"
        typer.echo(f"{size(total)} ({total} bytes) {would} {masked(place.uri)}")
