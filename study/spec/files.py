"""Files of specs: presets that ship, and those that a user wrote."""

from __future__ import annotations

import difflib
import itertools
from pathlib import Path

PRESETS = Path(__file__).parent.parent / "presets"


def path_of(source: str | Path) -> Path:
    """The file of a spec: of a preset's name, else the path itself."""
    return PRESETS / f"{source}.yaml" if str(source) in presets() else Path(source)


def opening_comment(source: str | Path) -> str:
    """The comment lines that open the file of a spec, as they are; empty without any.

    Raises OSError where the file cannot be read.
    """
    with path_of(source).open(encoding="utf-8-sig") as file:
        return "".join(itertools.takewhile(lambda line: line.startswith("#"), file))


def presets() -> list[str]:
    """Names of the presets, sorted."""
    files = (path for path in PRESETS.glob("*.yaml") if path.is_file())
    return sorted(path.stem for path in files if not path.name.startswith("."))


def nearest_preset(name: str) -> str:
    """Words on the preset whose name is nearest to `name`, and on all there are."""
    nearest = difflib.get_close_matches(name, presets(), n=1)
    known = f" (presets: {', '.join(presets())})"
    return f"; did you mean {nearest[0]!r}?{known}" if nearest else known
