"""A worker refuses to run other code than its driver's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.conftest import SPEC
from tests.helpers.driver import ROOT
from trainers.extensions import code_digest
from trainers.extensions.code_digest import ForeignCodeError, check_sources, source_digest

#: A driver that believes that its sources are others: to its workers it is of another version.
DRIVER = """
import json, sys
from study import Study
from study.run import execution
facts = execution.provenance() | {"source_digest": "0" * 64}
execution.provenance = lambda: facts
try:
    Study(**json.loads(sys.argv[1])).run(store=sys.argv[2])
except execution.StoppedError as error:
    print("stopped:", error)
"""


@pytest.mark.slow
def test_through_ray_a_study_with_foreign_workers_stops_at_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(SPEC), str(tmp_path / "store")],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    assert "stopped: ForeignCodeError: this worker would run other code" in done.stdout, done.stderr
    assert not list(tmp_path.glob("store/replicates/*"))


def test_the_digest_covers_every_source_wherever_it_lies(tmp_path: Path) -> None:
    for root in ("here", "there"):
        for package in code_digest.PACKAGES:
            folder = tmp_path / root / package
            (folder / "inner").mkdir(parents=True)
            for name in ("__init__.py", "inner/part.py"):
                (folder / name).write_text(f"{package} {name}")
    (tmp_path / "there" / "study" / "notes.txt").write_text("no code")
    # What editors leave: a notebook's copy, and the lock of a file that is being edited.
    (tmp_path / "there" / "study" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "there" / "study" / ".ipynb_checkpoints" / "part-checkpoint.py").touch()
    (tmp_path / "there" / "study" / ".#part.py").symlink_to("me@host.1234:5678")

    def digest(root: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", _DIGEST, str(tmp_path / root), str(ROOT)],
            capture_output=True, text=True, check=True, cwd=tmp_path,
        )  # fmt: skip
        return done.stdout

    same = digest("here")
    assert digest("there") == same
    (tmp_path / "there" / "study" / "inner" / "part.py").write_text("changed")
    assert digest("there") != same
    check_sources(source_digest())
    with pytest.raises(ForeignCodeError, match="other code"):
        check_sources("0" * 64)


#: The digest of the packages in one folder, by the function of another.
_DIGEST = """
import sys
sys.path.insert(0, sys.argv[2])
from trainers.extensions.code_digest import source_digest
for name in [name for name in sys.modules if name.startswith("trainers")]:
    del sys.modules[name]
sys.path.insert(0, sys.argv[1])
print(source_digest())
"""
