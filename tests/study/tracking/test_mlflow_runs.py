"""What MLflow would refuse reaches it all the same, and no point twice."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from analysis.metric_names import escaped
from study.tracking.mlflow_runs import StudyRuns
from trainers.store.tables import Point


@pytest.fixture(params=["sqlite", pytest.param("http", marks=pytest.mark.processes)])
def client(request: pytest.FixtureRequest) -> MlflowClient:
    uri = request.getfixturevalue("server" if request.param == "http" else "database")
    return MlflowClient(tracking_uri=str(uri))


def opened(client: MlflowClient, place: Path, **more: Any) -> StudyRuns:
    found = StudyRuns(client, f"names-{uuid.uuid4().hex}", place.as_uri(), **more)
    found.open({}, {})
    return found


@pytest.fixture
def runs(client: MlflowClient, tmp_path: Path) -> StudyRuns:
    return opened(client, tmp_path)


NAMES = [
    "test/acc@5", "distance/a//b/../c", "x" * 300, "train/größe [%]", "", "a/", "nul\0", "..x",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_of_any_name_is_logged(
    name: str, runs: StudyRuns, client: MlflowClient, trained: Any
) -> None:
    values = (0.5, float("nan"), float("inf"), 0.25)
    points = [Point(step, 1000 * step, name, value) for step, value in enumerate(values)]
    run_id = runs.log_points(trained.plan.replicates[0], points)
    assert client.get_run(run_id).data.metrics == {escaped(name): 0.25}
    assert len(client.get_metric_history(run_id, escaped(name))) == 4


@pytest.mark.parametrize("text", ["x" * 9000, "ä" * 9000, "of\udcff and \0", "🙂" * 4999])
def test_a_text_of_any_length_is_logged(
    text: str, runs: StudyRuns, client: MlflowClient, trained: Any
) -> None:
    run_id = runs.log_points(trained.plan.replicates[0], [])
    runs.end(run_id, "FAILED", {"error": text})
    found = client.get_run(run_id).data.tags["archprior.error"]
    assert len(found) <= 5000
    assert found[:2] == text[:2]
    assert "\0" not in found


def test_long_labels_are_cut_off_and_told_apart(
    runs: StudyRuns, client: MlflowClient, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mapping may be written out pair by pair."""
    one, other = trained.plan.replicates[:2]
    found = []
    for replicate, end in ((one, "a"), (other, "b")):
        monkeypatch.setitem(replicate.planned.labels, "target", "x" * 9000 + end)
        run = client.get_run(runs.log_points(replicate, []))
        assert len(run.info.run_name) <= 250
        found.append(run.data.params["target"])
    assert len(set(found)) == 2
    assert all(len(value) <= 5000 for value in found)
    assert all(value.startswith("xxx") and "sha256" in value for value in found)


def history(count: int, start: int = 1000) -> list[Point]:
    """Two metrics a step."""
    return [
        Point(step, start + step, name, float(step))
        for step in range(count)
        for name in ("train/loss", "validation/loss")
    ]


def held(client: MlflowClient, run_id: str) -> list[tuple[int, int]]:
    found = client.get_metric_history(run_id, "train/loss")
    return sorted((point.step, point.timestamp) for point in found)


@pytest.mark.parametrize("lost", [0, 1, 2])
@pytest.mark.parametrize("arrived", [True, False])
def test_a_batch_whose_answer_was_lost_enters_once(
    lost: int, arrived: bool, client: MlflowClient, trained: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A batch may end within a step."""
    runs = opened(client, tmp_path, metrics_per_call=7)
    replicate, log_batch, batches = trained.plan.replicates[0], client.log_batch, []
    run_id = runs.log_points(replicate, [])

    def lose(run_id: str, **batch: Any) -> None:
        batches.append(batch["metrics"])
        if len(batches) - 1 == lost:
            if arrived:
                log_batch(run_id, **batch)
            raise MlflowException("no answer")
        log_batch(run_id, **batch)

    monkeypatch.setattr(client, "log_batch", lose)
    with pytest.raises(MlflowException):
        runs.log_points(replicate, history(10))
    monkeypatch.undo()
    runs.open({}, {})
    assert runs.log_points(replicate, history(12)) == run_id
    assert held(client, run_id) == [(step, 1000 + step) for step in range(12)]


def test_only_what_is_missing_is_sent(
    runs: StudyRuns, client: MlflowClient, trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    replicate, log_batch, sent = trained.plan.replicates[0], client.log_batch, []

    def count(run_id: str, **batch: Any) -> None:
        sent.append(len(batch.get("metrics", ())))
        log_batch(run_id, **batch)

    runs.log_points(replicate, history(3))
    monkeypatch.setattr(client, "log_batch", count)
    runs.log_points(replicate, history(3))
    runs.log_points(replicate, history(5))
    assert sent == [4]


def test_points_of_another_training_replace_the_run(
    runs: StudyRuns, client: MlflowClient, trained: Any
) -> None:
    replicate = trained.plan.replicates[0]
    old = runs.log_points(replicate, history(5))
    new = runs.log_points(replicate, history(3, start=9000))
    assert client.get_run(old).info.lifecycle_stage == "deleted"
    assert held(client, new) == [(step, 9000 + step) for step in range(3)]
    runs.open({}, {})
    assert runs.ids() == {replicate.id: new}


def test_a_metric_of_the_users_own_stays(
    runs: StudyRuns, client: MlflowClient, trained: Any
) -> None:
    replicate = trained.plan.replicates[0]
    run_id = runs.log_points(replicate, history(2))
    client.log_metric(run_id, "mine", 1.0, timestamp=5, step=99)
    runs.open({}, {})
    assert runs.log_points(replicate, history(4)) == run_id
    assert client.get_run(run_id).data.metrics == {
        "mine": 1.0, "train/loss": 3.0, "validation/loss": 3.0,
    }  # fmt: skip
