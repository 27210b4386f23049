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


def test_it_is_in_no_file_but_the_failure_and_in_no_output(
    drive: Callable[..., Driver], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAKY", SECRET)
    (tmp_path / "leaky_nets.py").write_text(NETS)
    log, bundle = tmp_path / "events.json", tmp_path / "bundle.zip"
    assert drive("work", SPEC).wait() == 1
    assert drive("run", SPEC, "--local", "--log-json", log).wait() == 1
    names = {"status": ["leaks"], "report": ["leaks"], "export": ["study", "leaks", "--to", bundle]}
    for number, (command, words) in enumerate(names.items()):
        arguments = [command, *words, "--store", tmp_path / "store"]
        log_of = tmp_path / f"log-of-{number}.txt"
        driver = Driver(*arguments, log=log_of)
        assert driver.wait() in (0, 1), driver.log.read_text()
    shown = [*tmp_path.glob("log*.txt"), log, *(tmp_path / "store").rglob("*")]
    told = [path for path in shown if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert {path.name for path in told} == {"failure.json"}
    with ZipFile(bundle) as files:
        failures = [name for name in files.namelist() if name.endswith("failure.json")]
        assert all("***" in json.loads(files.read(name))["error"] for name in failures)
        assert not any(SECRET.encode() in files.read(name) for name in files.namelist())
    assert failures
