"""A store with a small study in it, trained once, and a real MLflow server."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from study import Study
from study.plan import Plan

SPEC: dict[str, Any] = {
    "name": "small",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 2, "width": 8}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "controls": ["shuffled"],
    "seeds": 2,
    "train": {"steps": 4, "batch_size": 50, "report_every": 2},
    "guide_train": {"steps": 2},
}


@dataclass(frozen=True)
class Trained:
    """A plan, the folder its replicates were trained into, and what they reported meanwhile.

    The guide of seed 1 failed, and what it should have guided is blocked.
    """

    spec: dict[str, Any]
    plan: Plan
    folder: Path
    reports: list[dict[str, Any]]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    from trainers.pack import run_pack
    from trainers.store import Store

    folder = tmp_path_factory.mktemp("trained") / "store"
    plan = Study(**SPEC).plan()
    reports: list[dict[str, Any]] = []
    guide = next(r for r in plan.replicates if r.condition.role == "guide" and r.seed == 1)
    stored = Store(folder).replicate(guide.id)
    stored.begin(guide.condition, guide.seed)
    stored.fail(RuntimeError("out of luck"), step=1)
    run_pack([(r.condition, r.seed) for r in plan.replicates], str(folder), reports.append)
    return Trained(SPEC, plan, folder, reports)


@pytest.fixture
def store_copy(trained: Trained, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained.folder, tmp_path / "store"))


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of a sqlite data base; MLflow takes seconds to make one, so tests share it."""
    return f"sqlite:///{tmp_path_factory.mktemp('database')}/mlflow.db"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an `mlflow server` on loopback."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/server.db",
        "--artifacts-destination", str(folder / "artifacts"),
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{url}/health", lambda: process.poll() is None)
        yield url
    finally:
        # Its workers are in its session.
        os.killpg(process.pid, 15)
        process.wait(30)


def _wait_for(url: str, alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while alive() and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(f"no MLflow server at {url}")


@pytest.fixture
def spec_file(tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        path = tmp_path / "spec.yaml"
        path.write_text(json.dumps({**SPEC, **changes}))
        return path

    return write
