"""The command `list`: what a spec may name, with its options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from study.modules import imported
from study.spec import PRESETS, presets
from trainers import architectures, tasks
from trainers.architectures import ARCHITECTURES
from trainers.distances import DISTANCES
from trainers.mapping import MAPPINGS
from trainers.measures import MEASURES
from trainers.registry import Registry, format_value
from trainers.tasks import TASKS


def show(kind: str, name: str | None, imports: Sequence[str] = ()) -> None:
    """Print names of a kind; for taps, those of an architecture on each task that it takes.

    `imports` are modules of the user whose entries are there too.
    """
    imported(list(imports), Path.cwd(), "list", "--imports")
    if kind == "presets":
        for preset in presets():
            typer.echo(f"{preset:<24} {_purpose(preset)}")
    elif kind == "taps":
        if name is None:
            raise ValueError("list taps: name an architecture (archprior list architectures)")
        _taps(name)
    else:
        registries: dict[str, Registry[Any]] = {
            "architectures": ARCHITECTURES, "tasks": TASKS, "distances": DISTANCES,
            "mappings": MAPPINGS, "measures": MEASURES,
        }  # fmt: skip
        _entries(registries[kind])


def _entries(registry: Registry[Any]) -> None:
    for name in registry.names():
        entry = registry[name]
        typer.echo(f"{name:<20} {entry.summary}")
        for key, value in entry.info.items():
            shown = ", ".join(value) if isinstance(value, tuple) else value
            typer.echo(f"    {key}: {shown}")
        options = [f"{key}={format_value(value)}" for key, value in entry.defaults.items()]
        if options:
            typer.echo(f"    options: {', '.join(options)}")


def _taps(name: str) -> None:
    takes = ARCHITECTURES[name].info["inputs"]
    for task_name in TASKS.names():
        task = tasks.build(TASKS.component(task_name))
        if task.input.kind in takes:
            network = architectures.blueprint(
                ARCHITECTURES.component(name), task.input, task.output
            )
            typer.echo(f"on {task_name}: {', '.join(network.taps)}")


def _purpose(preset: str) -> str:
    """The first line of prose in the comment that opens a preset."""
    text = (PRESETS / f"{preset}.yaml").read_text(encoding="utf-8")
    comment = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    prose = [line for line in comment if line and not line.startswith("archprior")]
    return prose[0] if prose else ""
