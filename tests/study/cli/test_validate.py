"""`validate` finds what can be found without training; what only training shows costs its cell."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from study import Study
from study.spec.read import SpecError
from trainers.store.store import Store

pytestmark = pytest.mark.usefixtures("no_imports")
ROOT = Path(__file__).resolve().parents[3]

MODULE = '''
import math
import torch
from torch import nn
from trainers.architectures import Network, register
from trainers.tasks import Classification, InputSpec, OutputSpec, Split
from trainers.tasks import register as register_task


@register("odd", inputs=("image", "signal"))
class Odd(Network):
    """A network that goes wrong as its option says."""

    def __init__(self, input, output, *, fault: str = "none"):
        super().__init__()
        if fault == "constructor":
            raise TypeError("no such thing")
        self.a, self.b = nn.Linear(math.prod(input.shape), 16), nn.Linear(16, 16)
        self.out = nn.Linear(16, output.num_classes)
        self.fault, self.calls = fault, 0
        self.seen = nn.Identity()
        given = {"misspelt": ("a", "c"), "string": "a", "detached": ("seen", "b")}
        self.taps = given.get(fault, ("a", "b"))
        if fault == "tied":
            self.b2 = nn.Linear(16, 16)
            self.b2.weight = self.b.weight

    def forward(self, x):
        self.calls += self.training
        if self.fault == "late" and self.calls > 3:
            raise KeyError("late")
        if self.fault == "forward":
            return self.out(x)
        h = torch.relu(self.a(x.flatten(1)))
        if self.fault == "detached":
            self.seen(h.detach())
        b = nn.functional.linear(h, self.b.weight) if self.fault == "never called" else self.b(h)
        if self.fault == "tied":
            b = self.b2(b)
        return self.out(torch.relu(b))


@register_task("odd_task")
class OddTask(Classification):
    """Is the sum positive? Goes wrong as its option says."""

    def __init__(self, *, fault: str = "none"):
        self.input, self.output = InputSpec(kind="signal", shape=(1, 8)), OutputSpec(num_classes=2)
        self.num_train, self.fault = 60, fault
        if fault == "metric":
            self.higher_is_better = {"accuracy": True, "loss": False, "acc@5": True}

    def load(self):
        sizes = {"train": 60, "validation": 20, "test": 251}
        if self.fault == "no validation":
            del sizes["validation"]
        return {name: self.draw(size, seed) for seed, (name, size) in enumerate(sizes.items())}

    def draw(self, size, seed):
        inputs = torch.randn(size, 1, 8, generator=torch.Generator().manual_seed(seed))
        labels = (inputs.sum((1, 2)) > 0).long()
        changed = {"labels from 1": labels + 1, "int32": labels.int()}
        shown = {"uint8": inputs.byte(), "float64": inputs.double()}
        return Split(shown.get(self.fault, inputs), changed.get(self.fault, labels))
'''
SPEC: dict[str, Any] = {
    "name": "odd",
    "imports": ["odd_entries.py"],
    "task": "odd_task",
    "targets": [{"name": "fcn", "depth": 2, "width": 8}],
    "guides": [{"name": "fcn", "depth": 3, "width": 8}],
    "controls": [],
    "states": ["untrained"],
    "seeds": 1,
    "train": {"steps": 6, "batch_size": 20, "report_every": 2},
}


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Study]:
    """A study of the odd entries, its spec in `tmp_path / "spec.yaml"`."""
    (tmp_path / "odd_entries.py").write_text(MODULE)

    def write(**changes: Any) -> Study:
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(SPEC | changes))
        return Study.load(path)

    return write


def beside(fault: str) -> list[Any]:
    """A healthy target, and one that goes wrong."""
    return [SPEC["targets"][0], {"name": "odd", "fault": fault}]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("misspelt", "architecture 'odd': tap 'c': unknown submodule 'c'"),
        ("string", "architecture 'odd': taps is 'a'; give a tuple"),
        ("never called", "architecture 'odd.*' on task 'odd_task': tap 'b': its module is not"),
        ("forward", r"on task 'odd_task': odd_entries.py, line \d+: RuntimeError: mat1 and mat2"),
        ("detached", "target 'odd.*' .*: guidance has no effect: .* tap 'seen'"),
    ],
)
def test_networks(fault: str, message: str, study: Callable[..., Study]) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        study(targets=beside(fault)).validate()
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("labels from 1", "labels from 1 to 2; allowed: 0 to 1"),
        ("int32", "labels of type int32"),
        ("uint8", "inputs of type uint8"),
        ("float64", "inputs of type float64"),
        ("no validation", "load gives no split 'validation'"),
        ("metric", "metric 'acc@5': a name is letters"),
    ],
)
def test_tasks(fault: str, message: str, study: Callable[..., Study]) -> None:
    with pytest.raises(ValueError, match=f"task 'odd_task': .*{message}") as caught:
        study(task={"name": "odd_task", "fault": fault}).validate()
    assert len(str(caught.value).splitlines()) == 1


def test_batches_that_are_too_small_to_guide(study: Callable[..., Study]) -> None:
    for size in (1, 2):
        with pytest.raises(SpecError, match=f"batches of {size} rows, too few for .* needs 3"):
            study(train={"steps": 6, "batch_size": size}).validate()


def test_a_run_refuses_what_validate_refuses(study: Callable[..., Study], tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="tap 'b': its module is not called"):
        study(targets=beside("never called")).run(store=tmp_path / "store", local=True)
    assert Store(tmp_path / "store").known() == set()


def archprior(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "study", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.processes
def test_what_only_training_shows_costs_its_cell(
    study: Callable[..., Study], tmp_path: Path
) -> None:
    """The healthy cells are trained, those of tied weights too; `status` needs no module."""
    study(targets=[*beside("late"), {"name": "odd", "fault": "tied"}]).validate()
    done = archprior(tmp_path, "run", "spec.yaml", "--local", "--store", "store")
    assert done.returncode == 1, done.stderr
    assert "failed: odd(fault=late)" in done.stdout
    assert "KeyError: 'late'" in done.stdout
    table = pd.read_parquet(tmp_path / "store/studies/odd/replicates.parquet")
    statuses = table.groupby("target")["status"].agg(set).to_dict()
    assert statuses["odd(fault=late)"] == {"failed"}
    assert statuses["odd(fault=tied)"] == statuses["fcn(depth=2,width=8)"] == {"finished"}
    alignment = pd.read_parquet(tmp_path / "store/studies/odd/alignment.parquet")
    assert set(alignment["n"]) == {251}
    (tmp_path / "odd_entries.py").unlink()
    status = archprior(tmp_path, "status", "odd", "--store", "store")
    assert (status.returncode, status.stderr) == (0, "")
    assert "2 failed" in status.stdout


@pytest.mark.processes
@pytest.mark.parametrize("command", ["validate", "plan"])
def test_an_exception_of_a_users_module_is_one_line(
    command: str, study: Callable[..., Study], tmp_path: Path
) -> None:
    study(targets=beside("constructor"))
    done = archprior(tmp_path, command, "spec.yaml")
    assert done.returncode == 2
    assert done.stderr == "error: odd_entries.py, line 17: TypeError: no such thing\n"
