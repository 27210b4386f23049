"""A study whose processes can be killed, and what it must come to nevertheless."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study import Study
from tests.helpers import undisturbed as quiet
from tests.helpers.driver import Driver

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
    return quiet.tables(store, SPEC["name"])


@pytest.fixture
def check_same(undisturbed: dict[str, pd.DataFrame]) -> Callable[[Path], None]:
    """That a store holds the undisturbed tables, and MLflow every point of them once."""

    def check(store: Path, uri: str | None = None) -> None:
        quiet.check_tables(quiet.tables(store, SPEC["name"]), undisturbed)
        quiet.check_points(store, uri or f"sqlite:///{store}/mlflow.db", SPEC["name"])

    return check
