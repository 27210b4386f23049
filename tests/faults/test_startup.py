"""Workers that Ray cannot set up: failures of their replicates, which stop a study early."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import SPEC
from tests.helpers.driver import Driver
from trainers.store.store import Store


@pytest.mark.slow
def test_workers_without_nccl_fail_their_replicates(
    drive: Callable[..., Driver], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node only says that it has a GPU, and Train fails before a line of ours runs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"GPU": 1}')
    driver = drive("run", SPEC | {"resources": {"gpus_per_worker": 0.5}})
    assert driver.wait() == 1
    log = driver.log.read_text()
    assert "error: the first 3 replicates failed alike: StartError: its worker could not be" in log
    assert "have NCCL built in" in log.splitlines()[-1]
    store = Store(tmp_path / "store")
    failures = [store.replicate(identifier).failure() for identifier in store.known()]
    assert len(failures) >= 3
    assert all(failure is not None and "NCCL" in failure.traceback for failure in failures)
