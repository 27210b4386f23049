"""A study whose processes can be killed, and what it must come to nevertheless."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from mlflow import MlflowClient

from study import Study
from trainers.store.store import Store

ROOT = Path(__file__).resolve().parents[2]
#: Eight replicates, of half a second to three seconds each and eight checkpoints or more.
SPEC: dict[str, Any] = {
    "name": "faults",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "norm": "batch", "depth": 3, "width": 256}],
    "guides": [{"name": "resnet2d", "width": 4, "blocks": 1}],
    "states": ["trained"],
    "controls": ["shuffled"],
    "seeds": 2,
    "train": {"steps": 320, "batch_size": 100, "report_every": 20, "optimizer": "adam"},
    "guide_train": {"steps": 160},
}
KINDS = {
    "worker": "ray::RayTrainWorker",
    "controller": "ray::TrainController",
    "trial": "ray::ImplicitFunc",
}
TABLES = (
    "replicates", "history", "predictions", "alignment", "transfer", "pairs", "priors",
    "consistency", "guide_similarity", "predictors", "trainability",
)  # fmt: skip
#: What two runs of one study may differ in.
VARYING = ["timestamp", "train_seconds", "run_id"]


class Driver:
    """`archprior run` in a process of its own, and all the processes below it."""

    def __init__(
        self,
        *arguments: object,
        log: Path,
        code: str | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        environment = dict(environment) | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.log = log
        program = ["-m", "study"] if code is None else ["-c", code]
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, *program, *map(str, arguments)],
                cwd=log.parent, env=environment, stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip
        self._below: dict[int, psutil.Process] = {}

    def below(self) -> list[psutil.Process]:
        """Its processes that are alive, orphans included."""
        try:
            found = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            found = []
        self._below |= {process.pid: process for process in found}
        return [p for p in self._below.values() if p.is_running()]

    def kill(self, kind: str) -> bool:
        """kill -9 the driver, or all its processes of a kind; False when there are none."""
        if kind == "driver":
            self.below()
            self.process.kill()
            return True
        victims = [p for p in self.below() if KINDS[kind] in _command(p)]
        for victim in victims:
            victim.kill()
        return bool(victims)

    def wait(self, seconds: float = 600) -> int:
        """Its exit status."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            self.below()
            time.sleep(0.1)
        assert self.process.poll() is not None, self.log.read_text()
        return int(self.process.returncode)

    def end(self) -> None:
        """Leave nothing behind."""
        for process in [*self.below(), psutil.Process()]:
            if process.pid != os.getpid():
                try:
                    process.send_signal(signal.SIGKILL)
                except psutil.NoSuchProcess:
                    continue
        self.process.kill()
        self.process.wait()


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Start a command on the store `tmp_path / "store"`; everything is killed at the end."""
    drivers: list[Driver] = []

    def start(
        command: str, spec: dict[str, Any], *options: object, code: str | None = None
    ) -> Driver:
        path = tmp_path / "spec.yaml"
        path.write_text(json.dumps(spec))
        log = tmp_path / f"log-{len(drivers)}.txt"
        arguments = [command, path, "--store", tmp_path / "store", *options]
        drivers.append(Driver(*arguments, log=log, code=code))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.end()


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Wait for something to be true; gives it."""

    def wait(condition: Callable[[], Any], seconds: float = 400) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError("it did not happen")

    return wait


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """The tables of a run that nothing disturbed."""
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    assert Study(**SPEC).run(store=store, local=True).complete
    return tables(store)


def tables(store: Path) -> dict[str, pd.DataFrame]:
    """A study's tables without times and run ids, in an order of their own."""
    folder = store / "studies" / SPEC["name"]
    found = {}
    for name in TABLES:
        frame = pd.read_parquet(folder / f"{name}.parquet").drop(columns=VARYING, errors="ignore")
        found[name] = frame.sort_values(list(frame.columns)).reset_index(drop=True)
    return found


@pytest.fixture
def check_same(undisturbed: dict[str, pd.DataFrame]) -> Callable[[Path], None]:
    """That a store holds the undisturbed tables, and MLflow every point of them once."""

    def check(store: Path, uri: str | None = None) -> None:
        for name, frame in tables(store).items():
            pd.testing.assert_frame_equal(frame, undisturbed[name], check_exact=True, obj=name)
        check_points(store, uri or f"sqlite:///{store}/mlflow.db")

    return check


def check_points(store: Path, uri: str, study: str = SPEC["name"]) -> None:
    """MLflow holds each replicate of the store once, with every point of its history once.

    Each is below the one run of its condition, which has each of its own points once.
    """
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    children = [run for run in runs if run.data.tags["archprior.kind"] == "replicate"]
    identifiers = [run.data.tags["archprior.replicate_id"] for run in children]
    assert len(set(identifiers)) == len(identifiers)
    conditions = [run for run in runs if run.data.tags["archprior.kind"] == "condition"]
    above = [run.data.tags["archprior.condition_id"] for run in conditions]
    assert len(set(above)) == len(above)
    parents = {run.data.tags["mlflow.parentRunId"] for run in children}
    assert parents == {run.info.run_id for run in conditions}
    for run in conditions:
        for name in run.data.metrics:
            points = client.get_metric_history(run.info.run_id, name)
            assert len({point.step for point in points}) == len(points)
    for identifier, run in zip(identifiers, children, strict=True):
        result = Store(store).replicate(identifier).result()
        if result is None:
            continue
        held = Counter(
            (point.step, point.timestamp, name, point.value)
            for name in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, name)
            if name not in ("train_seconds", "steps")
        )
        frame = pd.read_parquet(store / "replicates" / identifier / "history.parquet")
        stamps = frame["timestamp"].astype("datetime64[ms, UTC]").astype("int64")
        points = zip(frame["step"], stamps, frame["metric"], frame["value"], strict=True)
        assert held == Counter(points)
        assert run.info.status == "FINISHED"
        assert run.data.metrics["steps"] == result.steps
