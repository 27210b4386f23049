"""The library example of the README runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[2]


def test_the_library_example(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"## As a library\n\n```python\n(.*?)```", text, re.S)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *_, gained, aligned, distance = done.stdout.splitlines()
    assert -1 < float(gained) < 1
    assert "'similarity': " in aligned
    assert distance.startswith("tensor(0.")
    assert len(list(tmp_path.glob("store/replicates/*/result.json"))) == 3
