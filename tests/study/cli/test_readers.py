"""Commands that only read a study do without PyTorch and Ray, whose imports take seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.drawn_study import grid, write
from trainers.store.store import Store

pytestmark = pytest.mark.processes

COMMANDS = """
analyze drawn
status drawn
studies
check drawn
report drawn
compare drawn drawn
plot drawn matrix
export table drawn transfer
export study drawn
gc --dry-run
"""
_RUN = """
import sys
from study.cli.app import app
for command in sys.argv[2].strip().splitlines():
    app([*command.split(), "--store", sys.argv[1]], standalone_mode=False)
    print("after", command.split()[0], *{"ray", "torch"} & {*sys.modules})
"""


def test_they_import_neither(tmp_path: Path) -> None:
    content = grid("drawn", 1, 1, 2) | {"expect": ["baseline >= 0"]}
    write(content, Store(tmp_path / "store"), 3)
    done = subprocess.run(
        [sys.executable, "-c", _RUN, tmp_path / "store", COMMANDS],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("after")]
    assert said == [f"after {line.split()[0]}" for line in COMMANDS.strip().splitlines()]
