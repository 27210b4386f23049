"""The recipe of docs/cluster.md under a real Slurm of one node, whose GPUs are pretended."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from study import Study
from tests.faults.conftest import SPEC
from tests.helpers import slurm as helper
from tests.helpers.stores import finished
from tests.helpers.undisturbed import check_tables, tables

pytestmark = [
    pytest.mark.processes,
    pytest.mark.slow,
    pytest.mark.skipif(not helper.is_here(), reason="no Slurm, or not root"),
]
ROOT = Path(__file__).parents[2]
NUM_REPLICATES = len(Study(**SPEC).plan())


@pytest.fixture(scope="module")
def slurm() -> Iterator[Mapping[str, str]]:
    with helper.slurm() as environment:
        yield dict(environment) | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def script(store: Path) -> str:
    """The page's script for two jobs of this machine."""
    page = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", page, flags=re.DOTALL)
    changes = {"--array=0-31": "--array=0-1", "--cpus-per-task=4": "--cpus-per-task=1"}
    for before, after in (changes | {"/shared/store": str(store)}).items():
        assert before in found
        found = found.replace(before, after)
    return found


def ask(environment: Mapping[str, str], *command: str, folder: Path | None = None) -> str:
    done = subprocess.run(
        command, env=dict(environment), cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def until(condition: Callable[[], object], seconds: float = 900) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_an_array_trains_a_study_although_a_job_is_requeued(
    slurm: Mapping[str, str], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    (tmp_path / "study.yaml").write_text(json.dumps(SPEC))
    (tmp_path / "work.sh").write_text(script(store))
    job = ask(slurm, "sbatch", "--parsable", "work.sh", folder=tmp_path).strip()
    until(lambda: any(store.glob("replicates/*/checkpoint/*")))
    ask(slurm, "scontrol", "requeue", f"{job}_0")
    until(lambda: not ask(slurm, "squeue", "--noheader"))
    said = "\n".join(path.read_text() for path in tmp_path.glob("slurm-*.out"))
    assert len(finished(store)) == NUM_REPLICATES, said
    starts = [json.loads(p.read_text())["run"] for p in store.glob("replicates/*/starts.json")]
    assert set(starts) <= {f"work-{job}"}
    before = finished(store)
    assert Study(**SPEC).run(store=store, local=True).complete
    assert finished(store) == before
    assert Study(**SPEC).run(store=tmp_path / "quiet", local=True).complete
    check_tables(tables(store, SPEC["name"]), tables(tmp_path / "quiet", SPEC["name"]))
    assert os.environ.get("SLURM_CONF") is None
