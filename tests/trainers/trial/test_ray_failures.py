"""Failures that Ray knows of: whose fault they are, and what the store is told."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError
from ray.train import ControllerError

from trainers.conditions.condition import Condition
from trainers.store.lease import Lease
from trainers.store.store import CrashedError, Replicate, Store
from trainers.trial.ray_failures import CountFaults, begun, failed_to_start, is_of_the_machine

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
