"""`run --local` stops in a debugger inside the training loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.driver import ROOT

pytestmark = [pytest.mark.processes, pytest.mark.slow]

SPEC = {
    "name": "debugged",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 1, "width": 8}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "controls": [],
    "states": ["untrained"],
    "seeds": 1,
    "train": {"steps": 2, "batch_size": 50},
}
COMMANDS = [
    "import trainers.training.train",
    "b trainers.training.train.Run.finish",
    "c",
    "p 'stopped at', self.num_steps, type(self.network).__name__",
    "q",
]


def test_a_breakpoint_in_the_loop_is_reached(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(json.dumps(SPEC))
    pdb = [sys.executable, "-m", "pdb", *(part for each in COMMANDS for part in ("-c", each))]
    done = subprocess.run(
        [*pdb, "-m", "study", "run", str(spec), "--local", "--store", str(tmp_path / "store")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=600, check=False, cwd=tmp_path, input="",
    )  # fmt: skip
    assert "('stopped at', 2, 'ResNet')" in done.stdout, done.stdout + done.stderr
