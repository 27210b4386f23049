"""What MLflow would refuse, or a database behind it, reaches it all the same."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from analysis.metric_names import escaped
from study.tracking.mlflow_runs import StudyRuns
from trainers.store.tables import Point


@pytest.fixture(params=["sqlite", "http"])
def client(request: pytest.FixtureRequest) -> MlflowClient:
    uri = request.getfixturevalue("server" if request.param == "http" else "database")
    return MlflowClient(tracking_uri=str(uri))


@pytest.fixture
def runs(client: MlflowClient, tmp_path: Path) -> StudyRuns:
    found = StudyRuns(client, f"names-{uuid.uuid4().hex}", tmp_path.as_uri())
    found.open({}, {})
    return found


NAMES = [
    "test/acc@5", "distance/a//b/../c", "x" * 300, "train/größe [%]", "", "a/", "nul\0", "..x",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_of_any_name_is_logged(
    name: str, runs: StudyRuns, client: MlflowClient, trained: Any
) -> None:
    run_id = runs.run_of(trained.plan.replicates[0])
    points = [Point(1, 1000, name, value) for value in (0.5, float("nan"), float("inf"))]
    runs.log_points(run_id, [*points, Point(2, 2000, name, 0.25)])
    assert client.get_run(run_id).data.metrics == {escaped(name): 0.25}
    assert len(client.get_metric_history(run_id, escaped(name))) == 4


@pytest.mark.parametrize("text", ["x" * 9000, "ä" * 9000, "of\udcff and \0", "🙂" * 4999])
def test_a_text_of_any_length_is_logged(
    text: str, runs: StudyRuns, client: MlflowClient, trained: Any
) -> None:
    run_id = runs.run_of(trained.plan.replicates[0])
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
        run = client.get_run(runs.run_of(replicate))
        assert len(run.info.run_name) <= 250
        found.append(run.data.params["target"])
    assert len(set(found)) == 2
    assert all(len(value) <= 5000 for value in found)
    assert all(value.startswith("xxx") and "sha256" in value for value in found)
