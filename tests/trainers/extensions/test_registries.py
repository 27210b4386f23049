"""Entries of every kind that a user's module adds: they come and go with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trainers.extensions.registries import REGISTRIES
from trainers.extensions.user_modules import ImportsError, load
from trainers.registry import Entry

pytestmark = pytest.mark.usefixtures("no_imports")
ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("kind", REGISTRIES)
def test_entries_of_every_kind_come_and_go_with_their_module(tmp_path: Path, kind: str) -> None:
    entry = (
        "from trainers.extensions.registries import REGISTRIES\n"
        f"@REGISTRIES[{kind!r}].register({{!r}})\nclass Mine:\n    'Mine.'\n"
    )
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    for path in (one, two):
        path.write_text(entry.format("mine"))
    load([one])
    with pytest.raises(ImportsError, match=r"'mine' is already registered by one\.Mine"):
        load([one, two])
    load([two])
    assert REGISTRIES[kind]["mine"].origin[0] == "two"
    two.write_text(entry.format("other"))
    load([two])
    assert "mine" not in REGISTRIES[kind].names()


def test_a_name_of_the_package_is_refused_before_anything_of_its_kind_was_asked_for(
    tmp_path: Path,
) -> None:
    """Entries of the package are discovered late; in a fresh process none is there yet."""
    for kind, registry in REGISTRIES.items():
        # Modules of tests that this process has imported may have registered entries of their own.
        name = next(n for n in registry.names() if _is_of_the_package(registry[n]))
        (tmp_path / f"of_{kind}.py").write_text(
            "from trainers.extensions.registries import REGISTRIES\n"
            f"@REGISTRIES[{kind!r}].register({name!r})\nclass Mine:\n    'Mine.'\n"
        )
    script = (
        "import pathlib, sys\n"
        "from trainers.extensions.user_modules import ImportsError, load\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).glob('*.py')):\n"
        "    try:\n        load([path])\n"
        "    except ImportsError as error:\n        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.count("is already registered by trainers.") == len(REGISTRIES), done.stdout


def _is_of_the_package(entry: Entry[Any]) -> bool:
    return entry.factory.__module__.startswith("trainers.")
