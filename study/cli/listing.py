"""The command `list`: the entries that a spec may name, with their options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from analysis.questions import question
from study.cli.console import is_narrower_than, say
from study.errors import explain
from study.plan.sizes import bounded
from study.spec.entries import STANDARD, TargetEntry
from study.spec.files import path_of, presets
from study.spec.strict_yaml import parse
from study.spec.user_modules import imported
from trainers import architectures, tasks
from trainers.architectures import ARCHITECTURES
from trainers.conditions.guidance import NO_CONTROL
from trainers.conditions.registries import CONTROLS
from trainers.controls import Control
from trainers.errors import UserError
from trainers.extensions.registries import REGISTRIES
from trainers.registry import (
    Component,
    Entry,
    Registry,
    UnknownNameError,
    format_value,
    near_names,
    suggestion,
)
from trainers.tasks import TASKS

#: Columns of names, and fewest of a preset's purpose beside its name.
_NAME_WIDTH, _LEAST_PURPOSE = 20, 60


def show(kind: str, name: str | None, imports: Sequence[str] = ()) -> None:
    """Print the entries of a kind, or the one of a `name`: of presets its YAML, of taps its taps.

    `imports` are paths of the user's modules, whose entries are listed too. Raises UserError.
    """
    if kind not in (kinds := (*REGISTRIES, "presets", "taps")):
        raise UnknownNameError("kind", kind, kinds)
    imported(list(imports), Path.cwd(), "list", "--imports")
    if kind == "presets":
        _presets(name)
    elif kind == "taps":
        if name is None:
            raise UserError(
                "list taps: name an architecture (archprior list architectures), or give it with "
                "options as in a spec: '{name: fcn, depth: 2}'"
            )
        _taps(name)
    elif name is not None:
        _entry(name, REGISTRIES[kind][name])
    else:
        _entries(REGISTRIES[kind])
        if kind == "controls":
            _named(STANDARD, "Those that a claim needs, by the kind of row.")


def _presets(name: str | None) -> None:
    """Print the presets, or the YAML of one."""
    if name is None:
        _print_presets()
    elif name in presets():
        typer.echo(path_of(name).read_text(encoding="utf-8"), nl=False)
    else:
        near = suggestion(near_names(name, presets()))
        raise UserError(f"unknown preset {name!r}{near} (archprior list presets has them all)")


def _print_presets() -> None:
    """Print each preset with its purpose: beside its name, or below it on a narrow terminal."""
    names = presets()
    width = max(map(len, names))
    if is_narrower_than(width + _LEAST_PURPOSE):
        for name in names:
            typer.echo(name)
            say(f"    {_purpose(name)}", indent=4)
    else:
        for name in names:
            say(f"{name:<{width}} {_purpose(name)}", indent=width + 1)


def _named(name: str, text: str) -> None:
    say(f"{name:<{_NAME_WIDTH}} {text}", indent=_NAME_WIDTH + 1)


def _entries(registry: Registry[Any]) -> None:
    for name in registry.names():
        entry = registry[name]
        if registry is CONTROLS and name == NO_CONTROL.name:
            # The guide itself is always planned.
            continue
        _entry(name, entry)


def _entry(name: str, entry: Entry[Any]) -> None:
    _named(name, entry.summary)
    for key, value in {**entry.info, **_facts(entry.factory)}.items():
        text = ", ".join(value) if isinstance(value, tuple) else value
        say(f"    {key}: {text}", indent=8)
    options = [f"{key}={format_value(value)}" for key, value in entry.defaults.items()]
    if options:
        say(f"    options: {', '.join(options)}", indent=8)


def _facts(factory: Any) -> dict[str, str]:
    """Where a control has a meaning; empty for other entries."""
    if not (isinstance(factory, type) and issubclass(factory, Control)):
        return {}
    of = f"{' and '.join(factory.guides)} of {' and '.join(factory.states)} guides"
    return {"of": of + (" (standard)" if factory.standard else "")}


def _taps(entry: str) -> None:
    """Print the taps on every task, or why the architecture does not suit it.

    Raises UserError where it suits none.
    """
    content = parse(entry, "list taps") if entry.lstrip().startswith("{") else entry
    try:
        components = TargetEntry.model_validate(content).components()
    except ValidationError as error:
        raise UserError("; ".join(explain(error, TargetEntry, content))) from error
    for component in components:
        if len(components) > 1:
            typer.echo(ARCHITECTURES.label(component))
        rows = _taps_by_task(component)
        errors = [taps for taps in rows.values() if isinstance(taps, UserError)]
        if len(errors) == len(rows):
            raise errors[0]
        for task, taps in rows.items():
            shown = taps if isinstance(taps, str) else f"impossible: {taps}"
            say(f"on {task}: {shown}", indent=4)


def _taps_by_task(component: Component) -> dict[str, str | UserError]:
    rows: dict[str, str | UserError] = {}
    for name in TASKS.names():
        task = tasks.build(TASKS.component(name))
        if task.input.kind in ARCHITECTURES[component.name].info["inputs"]:
            try:
                with bounded(component):
                    network = architectures.build_on_meta(component, task.input, task.output)
            except UserError as error:
                rows[name] = error
            else:
                rows[name] = ", ".join(network.taps)
    return rows


def _purpose(preset: str) -> str:
    """The first sentence of the comment that opens a preset."""
    asked = question(path_of(preset).read_text(encoding="utf-8"))
    return re.split(r"(?<=[.?!])\s+(?=[A-Z])", asked, maxsplit=1)[0]
