"""Workers without Ray: many on one plan, some killed, come to the tables of a quiet run."""

from __future__ import annotations

import json
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study import Study
from tests.faults.conftest import SPEC
from tests.helpers.driver import Driver
from tests.helpers.stores import finished
from trainers.store.lease import holder
from trainers.store.store import Store

Drive = Callable[..., Driver]
Until = Callable[..., Any]
NUM_REPLICATES = len(Study(**SPEC).plan())


def begun(store: Path) -> bool:
    return any(store.glob("replicates/*/checkpoint/*"))


def trained_by(workers: list[Driver]) -> Counter[str]:
    """Number of workers that said they had finished a replicate, by its id."""
    lines = [line for worker in workers for line in worker.log.read_text().splitlines()]
    return Counter(line.split()[0] for line in lines if line.endswith(": finished"))


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 8])
def test_many_workers_on_one_plan(
    count: int, drive: Drive, until: Until, tmp_path: Path, check_same: Callable[[Path], None]
) -> None:
    draw, store = random.Random(count), tmp_path / "store"
    workers = [drive("work", SPEC) for _ in range(count)]
    until(lambda: begun(store))
    for victim in draw.sample(workers, count // 3):
        victim.kill("driver")
        victim.process.wait()
        # As a batch system does with a job of a lost node.
        workers.append(drive("work", SPEC))
    for worker in workers:
        worker.wait()
    statuses = Counter(worker.process.returncode for worker in workers)
    assert statuses == {0: count, -signal.SIGKILL: count // 3}
    before = finished(store)
    assert len(before) == NUM_REPLICATES
    said = trained_by(workers)
    assert set(said.values()) == {1}
    assert NUM_REPLICATES - count // 3 <= len(said) <= NUM_REPLICATES
    last = drive("run", SPEC, "--local")
    assert last.wait() == 0, last.log.read_text()
    assert finished(store) == before
    check_same(store)


def test_a_worker_that_is_asked_to_end_leaves_a_checkpoint_and_no_lease(
    drive: Drive, until: Until, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    worker = drive("work", SPEC)
    until(lambda: begun(store))
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait() == 0, worker.log.read_text()
    assert "goes on from its checkpoints" in worker.log.read_text()
    known = [Store(store).replicate(identifier) for identifier in Store(store).known()]
    assert all(holder(replicate.folder) is None for replicate in known)
    assert len(finished(store)) < NUM_REPLICATES
    (starts,) = {
        json.loads(path.read_text())["count"] for path in store.glob("replicates/*/starts.json")
    } or {1}
    assert starts == 1
    again = drive("work", SPEC)
    assert again.wait() == 0, again.log.read_text()
    assert len(finished(store)) == NUM_REPLICATES
    (hint,) = [line for line in again.log.read_text().splitlines() if "MLflow" in line]
    assert hint.endswith(" --local --store store writes the tables and MLflow")


def test_a_failed_guide_blocks_what_it_guides_and_ends_the_worker(
    drive: Drive, tmp_path: Path
) -> None:
    spec = SPEC | {"guide_train": {"steps": 20, "optimizer": "sgd", "lr": 1e18}, "seeds": 1}
    worker = drive("work", spec)
    assert worker.wait() == 1
    said = worker.log.read_text()
    assert ": failed: " in said
    assert "1 finished, 1 failed, 2 blocked" in said
    assert len(finished(tmp_path / "store")) == 1


#: A worker whose process dies of all replicates of one role at seed 0.
POISONED = """
import ctypes
import trainers.training.train as train
from study.__main__ import main
fit = train.Run.fit
def poisoned(run, saver):
    return ctypes.string_at(0) if run.poison else fit(run, saver)
run_of = train.run_of
def marked(setup, *arguments):
    run = run_of(setup, *arguments)
    run.poison = setup.condition.role == "ROLE" and setup.seed == 0
    return run
train.run_of, train.Run.fit = marked, poisoned
main()
"""


@pytest.mark.parametrize(("command", "role", "ends"), [
    ("work", "baseline", "7 finished, 1 failed"),
    ("work", "guide", "5 finished, 1 failed, 2 blocked"),
    ("run --local", "baseline", "CrashedError: its process died 2 times"),
])  # fmt: skip
def test_what_workers_die_of_fails_and_the_rest_is_trained(
    command: str, role: str, ends: str, drive: Drive, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """As in an array of jobs, of which each meets the same replicate, or one that is requeued."""
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    code, ended = POISONED.replace("ROLE", role), list[int]()
    name, *options = command.split()
    while not ended or ended[-1] == -signal.SIGSEGV:
        worker = drive(name, SPEC, *options, code=code)
        ended.append(worker.wait())
    assert ended == [-signal.SIGSEGV, -signal.SIGSEGV, 1]
    assert ends in worker.log.read_text()
    (failure,) = tmp_path.glob("store/replicates/*/failure.json")
    assert (
        "died 2 times after step 0: Fatal Python error: Segmentation fault" in failure.read_text()
    )
