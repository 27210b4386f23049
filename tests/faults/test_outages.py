"""MLflow goes away in the middle of a study: training goes on, and everything arrives once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from study import Study
from study.tracking.tracker import Tracker, TrackingError
from tests.helpers.front import Front
from tests.helpers.undisturbed import check_points

SPEC: dict[str, Any] = {
    "name": "outage",
    "task": {"name": "translated_digits", "places": 1},
    "targets": [{"name": "fcn", "depth": 2, "width": 8}],
    "guides": [{"name": "resnet2d", "width": 2, "blocks": 1}],
    "states": ["untrained"],
    "controls": ["shuffled"],
    "seeds": 2,
    "train": {"steps": 40, "batch_size": 50, "report_every": 4},
}


@pytest.fixture
def front(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    # Its first answer takes long: it makes its database then.
    MlflowClient(tracking_uri=server).search_experiments()
    monkeypatch.setattr(Tracker, "pause_seconds", 0.02)
    monkeypatch.setattr(Tracker, "live_seconds", 0.02)
    monkeypatch.setattr(Tracker, "away_seconds", 0.05)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    made = Front(server)
    yield made
    made.end()


@pytest.mark.parametrize(
    ("fault", "count"),
    [
        ("lose", 4),
        pytest.param("refuse", 4, marks=pytest.mark.slow),
        pytest.param("error", 4, marks=pytest.mark.slow),
        pytest.param("hang", 1, marks=pytest.mark.slow),
    ],
)
def test_what_mlflow_missed_arrives_when_it_is_back(
    fault: str, count: int, front: Front, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study(**SPEC | {"name": f"back-{fault}"})
    front.break_down(fault, first=6, count=count)
    outcome = study.run(store=tmp_path, tracking_uri=front.url, local=True)
    assert outcome.complete
    assert front.seen > 6 + count
    check_points(tmp_path, front.url, study.name)
    said = " ".join(capsys.readouterr().out.split())
    assert "is behind, training goes on" in said
    assert "is written again" in said


def test_a_server_that_is_slow_when_a_study_begins_gets_it_later(
    front: Front, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It answers whether it is up, and is too slow to make the study's own run."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    study = Study(**SPEC | {"name": "slow"})
    front.break_down("hang", first=0, count=1)
    assert study.run(store=tmp_path, tracking_uri=front.url, local=True).complete
    check_points(tmp_path, front.url, study.name)
    said = " ".join(capsys.readouterr().out.split())
    assert "is behind, training goes on" in said
    assert "is written again" in said


@pytest.mark.parametrize("fault", ["refuse", pytest.param("error", marks=pytest.mark.slow)])
def test_what_mlflow_missed_to_the_end_arrives_in_the_next_run(
    fault: str, front: Front, tmp_path: Path
) -> None:
    study = Study(**SPEC | {"name": f"next-{fault}"})
    front.break_down(fault, first=6, count=10**6)
    with pytest.raises(TrackingError, match="MLflow at http://"):
        study.run(store=tmp_path, tracking_uri=front.url, local=True)
    written = {p: p.stat().st_mtime_ns for p in tmp_path.glob("replicates/*/result.json")}
    assert len(written) == len(study.plan())
    front.break_down("none", 0, 0)
    outcome = study.run(store=tmp_path, tracking_uri=front.url, local=True)
    assert outcome.complete
    assert {p: p.stat().st_mtime_ns for p in written} == written
    check_points(tmp_path, front.url, study.name)


Drive = Callable[..., Any]


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back(
    drive: Drive, until: Callable[..., Any], tmp_path: Path, own_server: Any
) -> None:
    """The real thing, over Ray: kill -9 the server, start it again on its data base."""
    own_server.start()
    spec = SPEC | {"train": SPEC["train"] | {"steps": 4000, "report_every": 100}}
    driver = drive("run", spec, "--tracking-uri", own_server.url)
    until(lambda: list(tmp_path.glob("store/replicates/*/checkpoint/latest.json")))
    own_server.kill()
    until(lambda: "is behind" in driver.log.read_text())
    own_server.start()
    assert driver.wait() == 0, driver.log.read_text()
    check_points(tmp_path / "store", own_server.url, spec["name"])
