"""What the end of a run needs is imported before it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.made_study import MadeStudy

pytestmark = pytest.mark.processes

_END = """
import sys
from study.run.preload import preload
preload()
before = set(sys.modules)
from analysis import load, plots, report
report.renew("made", sys.argv[1])
figure = plots.study_figure("matrix", lambda name: load("made", name, store=sys.argv[1]))
plots.save(figure, sys.argv[2])
print(" ".join({name.split(".")[0] for name in set(sys.modules) - before}))
"""


def test_report_and_figures_import_nothing_more(tmp_path: Path) -> None:
    MadeStudy().write(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", _END, tmp_path, tmp_path / "matrix.png"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not {"analysis", "jinja2", "matplotlib", "mlflow"} & {*done.stdout.split()}
