"""A wheel holds all that the sources do: clusters and users install no checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("analysis", "study", "trainers")
ELSE = ("pyproject.toml", "README.md", "LICENSE")


def files(root: Path) -> set[str]:
    return {
        path.relative_to(root).as_posix()
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.processes
def test_it_holds_every_file(tmp_path: Path) -> None:
    source, made = tmp_path / "source", tmp_path / "made"
    for package in PACKAGES:
        kept = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, source / package, ignore=kept)
    for name in ELSE:
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run([*command, "--wheel-dir", made, source], check=True, cwd=tmp_path)
    (wheel,) = made.iterdir()
    held = {name for name in ZipFile(wheel).namelist() if name.partition("/")[0] in PACKAGES}
    assert held == files(source)
