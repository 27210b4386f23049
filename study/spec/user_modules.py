"""The key `imports` of a spec: a user's own modules, imported before its names are looked up."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from study.errors import SpecError
from study.spec.settings import as_list
from trainers.extensions import user_modules
from trainers.extensions.module import Module
from trainers.extensions.user_modules import ImportsError


def imported(paths: Any, folder: Path, source: str, key: str = "imports") -> tuple[Module, ...]:
    """The modules at `paths`, relative to `folder`, imported.

    Raises SpecError, which names the path and what is wrong with it.
    """
    where = f"{source}: {key}"
    paths = as_list(paths)
    for index, path in enumerate(paths):
        if not isinstance(path, str | os.PathLike):
            raise SpecError(f"{where}[{index}]: give a path (got {path!r:.80})")
    try:
        return user_modules.load([folder / Path(path).expanduser() for path in paths])
    except ImportsError as error:
        raise SpecError(f"{where}[{error.index}]: {error}") from error


def reactivated(modules: Sequence[Module]) -> None:
    """Make the entries of modules those of the time when the study was loaded; raises SpecError."""
    try:
        user_modules.activate(modules)
    except ImportsError as error:
        raise SpecError(f"imports[{error.index}]: {error}") from error


def sources(modules: Iterable[Module]) -> Iterator[tuple[str, str]]:
    """Path `<module>-<digest>/<file>` and text of every file of the modules."""
    for module in modules:
        for place, text in module.files.items():
            yield f"{module.name}-{module.digest}/{place}", text
