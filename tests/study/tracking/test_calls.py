"""Requests to a server: as few as MLflow's interface allows, whatever is measured."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from study import Study
from study.tracking.tracker import Tracker
from tests.helpers.front import Front, Request
from tests.helpers.tracked import Tracked, baselines, train, train_half

#: For each replicate, beside uploads of artifacts and points while it is trained.
MOST_CALLS = 4
#: Of a study's own run, its experiment and the searches.
MOST_BESIDE = 25
SPEC: dict[str, Any] = {
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 2, "width": 8}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "states": ["untrained"],
    "controls": ["shuffled"],
    "seeds": 3,
    "train": {"steps": 40, "batch_size": 50, "report_every": 4},
}
NUM_CONDITIONS = 4
DEFAULT_PAUSE, DEFAULT_LIVE = Tracker.pause_seconds, Tracker.live_seconds


@pytest.fixture
def front(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """A proxy that counts, before a server that has its database."""
    MlflowClient(tracking_uri=server).search_experiments()
    made = Front(server)
    yield made
    made.end()


def calls(front: Front, runs: dict[str, Run]) -> dict[str, list[Request]]:
    """Calls of runs, without uploads; runs and calls are by a replicate's or a condition's id."""
    of = {run.info.run_id: identifier for identifier, run in runs.items()}
    found: dict[str, list[Request]] = {identifier: [] for identifier in runs}
    for request in front.requests:
        if request.is_upload:
            continue
        named = request.content.get("run_id") or request.path.rpartition("run_id=")[2]
        tags = {tag["key"]: tag["value"] for tag in request.content.get("tags", ())}
        new = tags.get("archprior.replicate_id", tags.get("archprior.condition_id"))
        identifier = new if request.call == "runs/create" else of.get(named)
        if identifier in found:
            found[identifier].append(request)
    return found


def is_live(request: Request) -> bool:
    """Whether a request sends points of a replicate that is still trained."""
    tags = {tag["key"] for tag in request.content.get("tags", ())}
    return request.call == "runs/log-batch" and "archprior.status" not in tags


def test_a_replicate_takes_four_calls_at_most(
    front: Front, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tracker, "pause_seconds", DEFAULT_PAUSE)
    monkeypatch.setattr(Tracker, "live_seconds", DEFAULT_LIVE)
    study = Study(**SPEC, name=f"calls-{uuid.uuid4().hex}")
    began = time.monotonic()
    assert study.run(store=tmp_path, tracking_uri=front.url, local=True).complete
    seconds = time.monotonic() - began
    tracked = Tracked(server, study.name)
    of_replicates, of_conditions = calls(front, tracked.children), calls(front, tracked.conditions)
    assert len(of_replicates) == NUM_CONDITIONS * SPEC["seeds"]
    assert len(of_conditions) == NUM_CONDITIONS
    live = 0
    for sent in of_replicates.values():
        assert sent[0].call == "runs/create"
        live += sum(map(is_live, sent))
        assert sum(not is_live(request) for request in sent) <= MOST_CALLS
    # One is trained at a time.
    assert live <= math.ceil(seconds / DEFAULT_LIVE)
    assert all(len(sent) <= MOST_CALLS for sent in of_conditions.values())
    counted = sum(map(len, (*of_replicates.values(), *of_conditions.values())))
    uploads = sum(request.is_upload for request in front.requests)
    assert len(front.requests) - uploads - counted <= MOST_BESIDE
    front.requests.clear()
    assert study.run(store=tmp_path, tracking_uri=front.url, local=True).complete
    assert len(front.requests) < 10


def test_points_wait_while_a_replicate_is_trained_and_its_end_does_not(
    trained: Any, tmp_path: Path, uri: str, study: str, track: Callable[..., Tracker],
    until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(Tracker, "live_seconds", 1000.0)
    store, (first, second) = tmp_path / "new", baselines(trained)[:2]
    tracker = track(store)
    train_half(store, first)
    tracker.mark(first.id)
    until(lambda: tracker.run_ids().keys() == {first.id})
    train_half(store, second)
    tracker.mark(second.id)
    time.sleep(1)
    assert tracker.run_ids().keys() == {first.id}
    train(store, [second])
    tracker.progress.refresh(second.id)
    tracker.mark(second.id)
    until(lambda: Tracked(uri, study).children.get(second.id))
    until(lambda: Tracked(uri, study).children[second.id].info.status == "FINISHED")
    assert Tracked(uri, study).children[first.id].info.status == "RUNNING"
    tracker.close()
