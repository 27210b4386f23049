"""Which replicate `--profile` traces, and what the commands say of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from study import Study
from study.run.traced import chosen
from tests.helpers.command_line import Archprior

pytestmark = pytest.mark.processes

SPEC: dict[str, Any] = {
    "name": "traced",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 1, "width": 8}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "states": ["untrained"],
    "controls": ["shuffled"],
    "seeds": 1,
    "train": {"steps": 4, "batch_size": 20, "report_every": 2},
}


def test_a_guided_replicate_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    replicates = Study(**SPEC).plan().replicates
    found = next(r for r in replicates if r.id == chosen(replicates, profile=True))
    assert found.role == "guided"
    rest = [each for each in replicates if each.role != "guided"]
    assert chosen(rest, profile=True) == rest[0].id
    assert chosen(replicates, profile=False) is None
    assert capsys.readouterr().err == ""
    assert chosen([], profile=True) is None
    assert capsys.readouterr().err == (
        "--profile: nothing is left to train, so there is no trace\n"
    )


@pytest.mark.parametrize("command", [["run", "--local"], ["work"]])
def test_the_command_names_the_replicate_and_the_file(
    command: list[str], archprior: Archprior, tmp_path: Path
) -> None:
    spec, store = tmp_path / "spec.yaml", tmp_path / "store"
    spec.write_text(yaml.safe_dump(SPEC))
    name, *options = command
    status, out, err = archprior(name, spec, "--store", store, "--profile", *options)
    assert (status, err) == (0, "checking 2 networks and 1 task ...\n")
    (file,) = (store / "profiles").iterdir()
    (line,) = [line for line in out.splitlines() if "trace" in line and str(file) in line]
    assert file.name == f"{chosen(Study(**SPEC).plan().replicates, profile=True)}.json.gz"
    assert "seed 0" in line


@pytest.mark.slow
@pytest.mark.processes
def test_a_worker_of_ray_writes_it_too(archprior: Archprior, tmp_path: Path) -> None:
    spec, store = tmp_path / "spec.yaml", tmp_path / "store"
    spec.write_text(yaml.safe_dump(SPEC))
    status, out, err = archprior("run", spec, "--store", store, "--profile")
    assert status == 0, out + err
    (file,) = (store / "profiles").iterdir()
    assert f": {file}\n" in out
