"""Failures that Ray knows of: whose fault they are, and what the store is told."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError
from ray.train import ControllerError

from trainers.conditions.condition import Condition
from trainers.conditions.encoding import to_json
from trainers.store.lease import Lease
from trainers.store.store import MAX_FAULTS, CrashedError, Replicate, Store
from trainers.trial.ray_failures import (
    CountFaults,
    begun,
    failed_to_start,
    is_of_the_machine,
    note_crashes,
)

#: Train gives these to callbacks and in its errors, and exports neither.
TRAIN = import_module("ray.train.v2._internal.exceptions")


@pytest.fixture
def replicate(make: Callable[..., Condition], tmp_path: Path) -> Replicate:
    condition = make()
    found = Store(tmp_path).replicate_of(condition, 0)
    found.begin(condition, 0)
    return found


def test_a_worker_out_of_memory_counts_as_train_reports_it(
    replicate: Replicate, tmp_path: Path
) -> None:
    callback = CountFaults(str(tmp_path), "one", [replicate.id])
    lost = TRAIN.WorkerHealthCheckFailedError(
        "a worker is gone", OutOfMemoryError("used 30 GiB\nand so")
    )
    for _ in range(2):
        replicate.count_start("one", 0)
        callback.after_exception(None, {0: lost})
    with pytest.raises(CrashedError, match=r"died 2 times after step 0: out of memory: .*30 GiB"):
        replicate.count_start("one", 0)


CRASH = """
import ctypes, json, sys
import trainers.trial.trial as trial
from trainers.parallel.workers import Workers

class Follower(Workers):
    rank, world_size = 1, 2
    def orders(self):
        yield {"condition": json.loads(sys.argv[1]), "seed": 0, "guides": 0, "run": "one"}

trial.follow = lambda *_arguments: ctypes.string_at(0)
trial.follow_trial(sys.argv[2], Follower())
"""


@pytest.mark.processes
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_follower_that_crashes_counts_once_a_start(
    replicate: Replicate, tmp_path: Path, elsewhere: bool
) -> None:
    """Its machine tells, be it that of the leader or another."""
    condition = json.dumps(to_json(replicate.condition()))
    command = [sys.executable, "-c", CRASH, condition, str(tmp_path)]
    for _ in range(MAX_FAULTS):
        replicate.count_start("one", 0)
        for _ in range(2 if elsewhere else 1):
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            assert ended.returncode == -signal.SIGSEGV, ended.stderr
            if elsewhere:
                note_crashes(str(tmp_path), "one", [replicate.id])
    with pytest.raises(CrashedError, match=r"died 2 times .*Segmentation .*string_at"):
        replicate.count_start("one", 0)


def test_a_worker_that_is_only_gone_does_not_count(replicate: Replicate, tmp_path: Path) -> None:
    callback = CountFaults(str(tmp_path), "one", [replicate.id])
    for _ in range(3):
        replicate.count_start("one", 0)
        lost = TRAIN.WorkerHealthCheckFailedError("a worker is gone", ActorDiedError())
        callback.after_exception(None, {0: lost})
    assert replicate.failure() is None


def test_nodes_that_go_while_workers_are_set_up_are_no_fault_of_replicates() -> None:
    lost = TRAIN.WorkerGroupStartupFailedError("it failed")
    lost.__cause__ = ActorDiedError()
    assert is_of_the_machine(ControllerError(lost))
    assert not is_of_the_machine(ControllerError(RuntimeError("no NCCL")))


def test_what_cannot_be_set_up_fails_and_what_another_trains_does_not(
    replicate: Replicate, tmp_path: Path
) -> None:
    error = ControllerError(RuntimeError("no NCCL"))
    with Lease(replicate.folder):
        assert failed_to_start(str(tmp_path), [replicate.id], error) == []
    (ended,) = failed_to_start(str(tmp_path), [replicate.id], error)
    assert ended.error == "StartError: its worker could not be set up: RuntimeError: no NCCL"
    failure = replicate.failure()
    assert failure is not None
    assert failure.error == ended.error


def test_a_trial_has_begun_with_its_first_start_in_the_run(
    replicate: Replicate, tmp_path: Path
) -> None:
    assert not begun(str(tmp_path), "one", [replicate.id])
    replicate.count_start("one", 0)
    assert begun(str(tmp_path), "one", [replicate.id])
    assert not begun(str(tmp_path), "two", [replicate.id])
