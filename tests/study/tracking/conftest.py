"""Trackers on copies of a store, into sqlite and into a real server over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.plan.table import encode
from study.run.environment import prepare
from study.tracking.tracker import Tracker
from tests.helpers.tracked import states

FACTS = {"git_commit": "abc123", "python_version": "3"}


# Over HTTP in each change: `test_mlflow_runs.py`, and the outages of tests/faults.
@pytest.fixture(params=["sqlite", pytest.param("http", marks=pytest.mark.slow)])
def uri(request: pytest.FixtureRequest) -> str:
    if request.param == "http":
        return str(request.getfixturevalue("server"))
    return str(request.getfixturevalue("database"))


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tracker, "pause_seconds", 0.05)
    monkeypatch.setattr(Tracker, "live_seconds", 0.05)
    monkeypatch.setattr(Tracker, "away_seconds", 0.1)


@pytest.fixture
def study(trained: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    """A name of its own for each test: a server serves them all."""
    before = trained.plan.name
    trained.plan.name = "test-" + str(abs(hash(request.node.nodeid)))
    yield trained.plan.name
    trained.plan.name = before


@pytest.fixture
def said() -> list[str]:
    """What a tracker has said."""
    return []


@pytest.fixture(scope="session", autouse=True)
def _environment() -> None:
    """As a run begins: an MLflow that does not answer is soon given up."""
    prepare(starts_ray=False)


@pytest.fixture
def track(
    trained: Any, store_copy: Path, uri: str, study: str, said: list[str]
) -> Callable[..., Tracker]:
    """A tracker that has started, on a copy of the store or another."""

    def start(store: Path = store_copy, uri: str = uri) -> Tracker:
        tracker = Tracker(states(trained, store), uri, FACTS, said.append)
        files = {"spec.yaml": yaml.safe_dump(trained.spec).encode()}
        tracker.start(files | {"plan.parquet": encode(trained.plan, FACTS)})
        return tracker

    return start


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Wait for something to be true, a minute at most, for machines are busy; gives it."""

    def wait(condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            time.sleep(0.02)
        raise AssertionError("it did not happen")

    return wait
