"""Studies as jobs of a real cluster whose node has none of our sources; tokens on and off."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study import Study
from tests.helpers.ray_head import ROOT, Head, ray_head
from tests.helpers.stores import finished

pytestmark = pytest.mark.processes
#: A user's network that takes its time in training as long as a file is there.
MODULE = """
import os
import time

from trainers.architectures import register
from trainers.architectures.fcn import fcn


def wait(network, _inputs):
    if network.training and os.path.exists({!r}):
        time.sleep(0.1)


@register("slow_fcn", inputs=("image",))
def slow_fcn(input, output, *, width: int = 64):
    network = fcn(input, output, norm="batch", depth=3, width=width)
    network.register_forward_pre_hook(wait)
    return network
"""
SPEC: dict[str, Any] = {
    "name": "jobbed",
    "imports": ["slow.py"],
    "task": {"name": "translated_digits", "places": 1},
    "targets": ["slow_fcn"],
    "guides": [{"name": "resnet2d", "width": 4, "blocks": 1}],
    "controls": ["shuffled"],
    "states": ["trained"],
    "seeds": 2,
    "train": {"steps": 100, "batch_size": 100, "optimizer": "adam", "report_every": 10},
    "guide_train": {"steps": 20},
}
TOKEN = "4f" * 32


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    with ray_head(tmp_path_factory.mktemp("h"), token=TOKEN) as running:
        yield running


def archprior(head: Head, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does whose variables are those of the head's owner."""
    return subprocess.run(
        [sys.executable, "-m", "study", *map(str, arguments)],
        cwd=head.folder, env=dict(head.environment) | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def until(condition: Any, seconds: float = 600) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError("it did not happen")


def accepted(
    submitted: subprocess.CompletedProcess[str],
) -> subprocess.CompletedProcess[str] | None:
    """A submission; None where the head's agent, which Ray starts late, was not there yet."""
    if "No available agent" in submitted.stderr:
        return None
    assert submitted.returncode == 0, submitted.stderr
    return submitted


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("no_imports")
def test_a_study_is_submitted_stopped_and_submitted_again(head: Head, tmp_path: Path) -> None:
    spec, store, slow = (tmp_path / name for name in ("spec.yaml", "store", "slow"))
    spec.write_text(json.dumps(SPEC))
    spec.with_name("slow.py").write_text(MODULE.format(str(slow)))
    slow.touch()
    at = ("--address", head.dashboard)
    submitted = until(lambda: accepted(archprior(head, "submit", spec, "--store", store, *at)))
    assert submitted.stdout.startswith("submitted jobbed-")
    again = archprior(head, "submit", spec, "--store", store, *at)
    assert again.returncode == 1
    assert f"see archprior jobs logs jobbed --address {head.dashboard}" in again.stderr

    until(lambda: list(store.glob("replicates/*/checkpoint/latest.json")))
    stopped = archprior(head, "jobs", "stop", "jobbed", *at)
    assert stopped.returncode == 0, stopped.stderr
    go_on = f"archprior submit SPEC --address {head.dashboard} --store {store}"
    assert f"stopped; {go_on} goes on from there" in stopped.stdout
    assert not list(store.glob("replicates/*/lease.json"))
    planned = {replicate.id for replicate in Study.load(spec).plan().replicates}
    left = planned - set(finished(store))
    assert left, "it had ended before it was stopped: this test is about a stop in mid-run"

    slow.unlink()
    assert archprior(head, "submit", spec, "--store", store, *at).returncode == 0
    logs = archprior(head, "jobs", "logs", "jobbed", "--follow", *at)
    assert f"{8 - len(left)} done" in logs.stdout, logs.stdout
    assert archprior(head, "jobs", "status", "jobbed", *at).stdout.split()[1] == "succeeded:"
    assert archprior(head, "jobs", "list", *at).stdout.count("jobbed-") == 2
    check_same(spec, store)
    facts = json.loads(next(store.glob("replicates/*/provenance.json")).read_text())
    assert len(facts["git_commit"]) == 40, "a job has no repository: the commit travels with it"


def check_same(spec: Path, store: Path) -> None:
    """The job's results are those of a run in this process."""
    quiet = spec.with_name("quiet")
    assert Study.load(spec).run(store=quiet, local=True).complete
    for name in ("transfer", "replicates"):
        frames = [
            pd.read_parquet(place / "studies" / "jobbed" / f"{name}.parquet").drop(
                columns=["train_seconds", "run_id"], errors="ignore"
            )
            for place in (store, quiet)
        ]
        pd.testing.assert_frame_equal(*frames, check_exact=True)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("no_imports")
def test_a_bare_job_brings_the_modules_of_its_spec(head: Head, tmp_path: Path) -> None:
    """As a RayJob of Kubernetes: spec and modules lie beside its driver, and travel with no one.

    Workers do not find a module in that folder, which is not on their path.
    """
    spec, store = tmp_path / "specs" / "spec.yaml", tmp_path / "store"
    spec.parent.mkdir()
    small = {"seeds": 1, "train": SPEC["train"] | {"steps": 10}, "guide_train": {"steps": 10}}
    spec.write_text(json.dumps(SPEC | small))
    spec.with_name("slow.py").write_text(MODULE.format("never"))
    sources = json.dumps({"env_vars": {"PYTHONPATH": str(ROOT)}})
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ray")), "job", "submit", "--address",
            head.dashboard, "--runtime-env-json", sources, "--", "python", "-m", "study", "run",
            str(spec), "--address", "auto", "--store", str(store),
        ],
        env=dict(head.environment), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    planned = {replicate.id for replicate in Study.load(spec).plan().replicates}
    assert planned == set(finished(store))


def test_the_doctor_looks_at_every_node(head: Head, tmp_path: Path) -> None:
    found = archprior(head, "doctor", "--store", tmp_path, "--address", head.address, "--json")
    lines = json.loads(found.stdout)
    assert [each["problem"] for each in lines] == [None] * len(lines), lines
    assert found.returncode == 0
    texts = [each["text"] for each in lines]
    assert any("1: 2 CPU, 0 GPU" in text for text in texts)
    assert "sees the same store" in texts
    assert not list(tmp_path.rglob("doctor-*"))


def test_a_refused_token_is_one_line_that_says_what_to_set(head: Head, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    none = {"HOME": str(tmp_path / "home"), "RAY_AUTH_TOKEN_PATH": "", "RAY_AUTH_MODE": "disabled"}
    for command in (
        ["jobs", "list", "--address", head.dashboard],
        ["run", "quickstart", "--store", tmp_path / "store", "--address", head.address],
    ):
        refused = archprior(head, *command, **none)
        assert refused.returncode == 2, refused.stderr
        last = refused.stderr.strip().splitlines()[-1]
        assert last.startswith("error: --address: "), refused.stderr
        assert "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH" in last


@pytest.mark.slow
def test_a_cluster_without_tokens_takes_a_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("o")
    with ray_head(folder) as head:
        found = archprior(head, "doctor", "--store", folder / "s", "--address", head.address)
        assert found.returncode == 0, found.stdout + found.stderr
    assert "wrong" not in found.stdout
