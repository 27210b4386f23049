"""The environment of a run's process: what a run sets in it, and that nothing else does."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from study.run.environment import prepare
from trainers.trial.ray_worker import WORKER_ENVIRONMENT

ROOT = Path(__file__).parents[3]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own, of which nothing is left."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setenv("PYTHONPATH", "here")
    for name in (*WORKER_ENVIRONMENT, "MLFLOW_HTTP_REQUEST_TIMEOUT", "TUNE_DISABLE_SIGINT_HANDLER"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("environment")
def test_processes_of_a_local_ray_inherit_what_they_need() -> None:
    for _ in range(2):
        prepare(starts_ray=True)
        assert os.environ["PYTHONPATH"] == os.pathsep.join([str(ROOT), "here"])
    assert os.environ.items() >= WORKER_ENVIRONMENT.items()


@pytest.mark.usefixtures("environment")
def test_without_a_ray_of_its_own_a_run_leaves_paths_alone() -> None:
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "77"
    prepare(starts_ray=False)
    assert os.environ["PYTHONPATH"] == "here"
    assert not WORKER_ENVIRONMENT.keys() & os.environ.keys()
    assert os.environ["TUNE_DISABLE_SIGINT_HANDLER"] == "1"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"


def writes(path: Path) -> bool:
    """Whether a file writes into `os.environ`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign | ast.AugAssign | ast.Delete):
            targets = [node.target] if isinstance(node, ast.AugAssign) else node.targets
            if any("os.environ" in ast.unparse(target) for target in targets):
                return True
        if isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "os.environ.setdefault", "os.environ.update", "os.environ.pop", "os.putenv",
        ):  # fmt: skip
            return True
    return False


def test_nothing_else_writes_into_it() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("study", "trainers")
        for path in (ROOT / package).rglob("*.py")
        if writes(path)
    }
    # cuBLAS has to be told before its first use, wherever training is imported; MLflow's server
    # takes its settings from the environment of its process, which is its alone; Ray Train hands on
    # from the process of a trial what it finds in its environment, and the address is known there.
    assert found == {
        "study/run/environment.py", "trainers/runtime/precision.py", "study/cli/mlflow_server.py",
        "trainers/trial/ray_trainer.py",
    }  # fmt: skip
