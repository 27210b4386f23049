"""The command `export init`: a replicate's weights after its alignment, as a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from analysis.contract import is_rival
from study.bundle import initialisation
from study.spec.user_modules import imported
from trainers.runtime.devices import default_device, device_name
from trainers.training.aligned import Aligned

_DISTANCE = "train/distance"


def export(
    study: str, replicate_id: str, store: str, to: str | None, imports: Sequence[str]
) -> None:
    """Write the weights of a replicate after its alignment, and say where they come from."""
    imported(list(imports), Path.cwd(), "export init", "--imports")
    path = to or f"{replicate_id}{initialisation.SUFFIX}"
    written = initialisation.export(study, replicate_id, store, path)
    found, labels = written.found, written.labels
    typer.echo(
        f"wrote {written.path}: {labels['target']} after {found.steps} steps of alignment "
        f"{_with(labels)} on {labels['task']}, seed {found.seed}{_distances(found)}"
    )
    if found.same_numbers is None:
        typer.echo(
            f"replicate {replicate_id} reported nothing within its alignment: whether these are "
            "its own weights to the bit could not be compared",
            err=True,
        )
    elif not found.same_numbers:
        typer.echo(
            f"replicate {replicate_id} was trained by PyTorch {found.trained.torch_version} on "
            f"{found.trained.device}; here (on {device_name(default_device())}) its first steps "
            "give other numbers: these weights are aligned alike, but not to the bit its own",
            err=True,
        )
    typer.echo(f"to start from it: rivals: [{{name: from_weights, path: {written.path}}}]")


def _distances(found: Aligned) -> str:
    """The distance at first and at last; nothing where an alignment of one step has no last."""
    ends = [metrics.get(_DISTANCE) for metrics in (found.before, found.after)]
    if None in ends:
        return ""
    return f"; distance {ends[0]:.3g} at first, {ends[1]:.3g} at last"


def _with(labels: Mapping[str, Any]) -> str:
    """The words for what aligned the target of a row."""
    if is_rival(labels):
        return f"by {labels['treatment']}"
    control = "" if labels["control"] == "none" else f", control {labels['control']}"
    return f"with {labels['guide']} ({labels['state']}{control})"
