"""A secret in the text of an exception of the user's code is shown to nobody."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from tests.helpers.driver import Driver

SECRET = "hunter2"
#: Sources of modules are kept in the store; the secret is not in them.
NETS = """
import math, os
from trainers.architectures import register
from trainers.architectures.fcn import FullyConnected

class Leaky(FullyConnected):
    calls = 0
    def forward(self, inputs):
        Leaky.calls += self.training
        if Leaky.calls > 20:
            secret = os.environ["LEAKY"]
            raise OSError(f"401 for https://bob:{secret}@data.lab/x.npz?token={secret}")
        return super().forward(inputs)

@register("leaky", inputs=("signal",))
def leaky(input, output):
    return Leaky(math.prod(input.shape), output.num_outputs, 1, 4, "none", 0.0)
"""
SPEC: dict[str, Any] = {
    "name": "leaks",
    "imports": ["leaky_nets.py"],
    "task": "mnist1d",
    "targets": ["leaky"],
    "guides": ["fcn"],
    "states": ["untrained"],
    "controls": [],
    "seeds": 1,
    "train": {"steps": 40, "batch_size": 50},
}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], set[str]]:
    """Names of files with the secret: of the store, of outputs and of logs."""
    monkeypatch.setenv("LEAKY", SECRET)
    (tmp_path / "leaky_nets.py").write_text(NETS)

    def find() -> set[str]:
        logs = [*tmp_path.glob("log*.txt"), tmp_path / "events.json"]
        shown = [*logs, *(tmp_path / "store").rglob("*")]
        files = [path for path in shown if path.is_file()]
        assert any(b"https://***@data.lab" in path.read_bytes() for path in files)
        return {path.name for path in files if SECRET.encode() in path.read_bytes()}

    return find


def show(tmp_path: Path, *words: object) -> None:
    """Run a command that trains nothing."""
    log = tmp_path / f"log-of-{words[0]}.txt"
    driver = Driver(*words, "--store", tmp_path / "store", log=log)
    assert driver.wait() in (0, 1), driver.log.read_text()


def test_it_is_in_no_file_of_the_store_and_in_no_output(
    drive: Callable[..., Driver], tmp_path: Path, places: Callable[[], set[str]]
) -> None:
    bundle = tmp_path / "bundle.zip"
    assert drive("work", SPEC).wait() == 1
    assert drive("run", SPEC, "--local", "--log-json", tmp_path / "events.json").wait() == 1
    assert places() == set()
    # As a version wrote it that hid nothing there.
    for failure in tmp_path.glob("store/replicates/*/failure.json"):
        failure.write_text(failure.read_text().replace("***", SECRET))
    for words in (["status", "leaks"], ["analyze", "leaks"], ["report", "leaks"]):
        show(tmp_path, *words)
    show(tmp_path, "export", "study", "leaks", "--to", bundle)
    assert places() == {"failure.json"}
    with ZipFile(bundle) as files:
        failures = [name for name in files.namelist() if name.endswith("failure.json")]
        assert all("***" in json.loads(files.read(name))["error"] for name in failures)
        assert not any(SECRET.encode() in files.read(name) for name in files.namelist())
    assert failures


def test_it_is_in_no_file_that_ray_writes(
    drive: Callable[..., Driver], tmp_path: Path, places: Callable[[], set[str]]
) -> None:
    assert drive("run", SPEC, "--log-json", tmp_path / "events.json").wait() == 1
    assert list(tmp_path.glob("store/ray/*/experiment_state*.json"))
    assert places() == set()
