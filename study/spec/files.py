"""Files of specs: presets by name, and YAML files by path."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from analysis.questions import opening_comment
from study.errors import SpecError
from study.spec import strict_yaml
from study.spec.read import Spec, read
from trainers.errors import UserError
from trainers.registry import near_names, suggestion

PRESETS = Path(__file__).parent.parent / "presets"
#: What the name of a spec's file ends in, and that of a module, which some give in its place.
_SUFFIXES = (".yaml", ".yml")
_OF_FILES = (*_SUFFIXES, ".py")


def load(source: str | Path) -> tuple[dict[str, Any], Spec]:
    """The spec of a preset or a YAML file: as written, and validated.

    Raises SpecError when there is no such preset or file, or it is not a valid spec.
    """
    path, name = path_of(source), str(source)
    try:
        with path.open("rb") as file:
            start = file.read(strict_yaml.MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        # ValueError: a name with a zero byte.
        raise SpecError(f"{name}: {_absent(name, error)}") from error
    try:
        content = strict_yaml.parse(strict_yaml.decode(start, name), name)
    except UserError as error:
        raise SpecError(str(error)) from error
    return content, read(content, name, imports_from=path.parent)


def opening(source: str | Path) -> str:
    """The comment at the top of a preset or a YAML file, which says what the study asks.

    Empty where there is none, or the file cannot be read any more.
    """
    with suppress(OSError, UnicodeDecodeError):
        return opening_comment(path_of(source).read_text(encoding="utf-8"))
    return ""


def presets() -> list[str]:
    """Names of the presets, sorted."""
    files = (path for path in PRESETS.glob("*.yaml") if path.is_file())
    return sorted(path.stem for path in files if not path.name.startswith("."))


def path_of(source: str | Path) -> Path:
    """The file of a preset, or of a path that is none."""
    return PRESETS / f"{source}.yaml" if str(source) in presets() else Path(source)


def _absent(name: str, error: Exception) -> str:
    """Why there is no spec of a name, and which may be meant."""
    if isinstance(error, IsADirectoryError) and name:
        return "it is a folder; give a YAML file, or a preset (archprior list presets)"
    if os.sep in name or name.endswith(_OF_FILES):
        if isinstance(error, FileNotFoundError):
            return "there is no such file"
        return f"it cannot be read: {getattr(error, 'strerror', None) or error}"
    near = _beside(name) or near_names(name, presets())
    listed = "" if near else " (archprior list presets has the presets)"
    return f"there is neither a preset nor a file of this name{suggestion(near)}{listed}"


def _beside(name: str) -> list[str]:
    """Files of a name with the suffix that was left out."""
    with suppress(OSError, ValueError):
        return [name + suffix for suffix in _SUFFIXES if Path(name + suffix).is_file()]
    return []
