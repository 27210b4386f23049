"""MLflow as a projection of the store, into sqlite and into a real server over HTTP."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from study.plan.progress import Progress
from study.plan.replicates import Replicate
from study.plan.table import encode
from study.tracking import tracker as tracker_module
from study.tracking.tracker import Tracker
from trainers.store.store import Store
from trainers.trial.trial import TrialContext, run_pack

FACTS = {"git_commit": "abc123", "python_version": "3"}


@pytest.fixture(params=["sqlite", "http"])
def uri(request: pytest.FixtureRequest) -> str:
    if request.param == "http":
        return str(request.getfixturevalue("server"))
    return str(request.getfixturevalue("database"))


@pytest.fixture(autouse=True)
def prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker_module, "_FLUSH_SECONDS", 0.05)


@pytest.fixture
def study(trained: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    """A name of its own for each test: a server serves them all."""
    before = trained.plan.name
    trained.plan.name = "test-" + str(abs(hash(request.node.nodeid)))
    yield trained.plan.name
    trained.plan.name = before


Track = Callable[..., Tracker]


@pytest.fixture
def said() -> list[str]:
    """What a tracker has said."""
    return []


@pytest.fixture
def track(trained: Any, store_copy: Path, uri: str, study: str, said: list[str]) -> Track:
    """A tracker that has started, on a copy of the store."""

    def start() -> Tracker:
        tracker = Tracker(Progress(trained.plan, Store(store_copy)), uri, FACTS, said.append)
        files = {"spec.yaml": yaml.safe_dump(trained.spec).encode()}
        tracker.start(files | {"plan.parquet": encode(trained.plan, FACTS)})
        return tracker

    return start


class Tracked:
    """What MLflow holds of a study."""

    def __init__(self, uri: str, study: str) -> None:
        self.client = MlflowClient(tracking_uri=uri)
        experiment = self.client.get_experiment_by_name(study)
        assert experiment is not None
        runs = self.client.search_runs([experiment.experiment_id])
        self.parents = [r for r in runs if r.data.tags["archprior.kind"] == "study"]
        self.children = {
            r.data.tags["archprior.replicate_id"]: r
            for r in runs
            if r.data.tags["archprior.kind"] == "replicate"
        }
        assert len(runs) == len(self.parents) + len(self.children)

    def points(self, run: Run) -> Counter[tuple[int, int, str, float]]:
        return Counter(
            (point.step, point.timestamp, name, point.value)
            for name in run.data.metrics
            for point in self.client.get_metric_history(run.info.run_id, name)
        )

    def artifacts(self, run: Run) -> set[str]:
        return {entry.path for entry in self.client.list_artifacts(run.info.run_id)}


def history(store: Path, replicate: Replicate) -> pd.DataFrame:
    return pd.read_parquet(store / "replicates" / replicate.id / "history.parquet")


def expected(store: Path, replicate: Replicate) -> Counter[tuple[int, int, str, float]]:
    """Every point of the stored history once, and two that sum it up."""
    frame = history(store, replicate)
    stamps = frame["timestamp"].astype("datetime64[ms, UTC]").astype("int64")
    points = list(zip(frame["step"], stamps, frame["metric"], frame["value"], strict=True))
    step, stamp = points[-1][:2]
    result = Store(store).replicate(replicate.id).result()
    assert result is not None
    points += [(step, stamp, "train_seconds", result["train_seconds"])]
    points += [(step, stamp, "steps", float(result["steps"]))]
    return Counter(points)


def finished(trained: Any) -> list[Replicate]:
    done = {r["replicate_id"] for r in trained.reports if r.get("status") == "finished"}
    return [r for r in trained.plan.replicates if r.id in done]


def check_complete(trained: Any, store: Path, tracked: Tracked) -> None:
    replicates = finished(trained)
    # Guide, baseline, untrained and its shuffle at two seeds; what the trained guide guides at
    # one; but the guide of seed 1.
    assert len(replicates) == 2 * 4 - 1 + 2
    for replicate in replicates:
        run = tracked.children[replicate.id]
        assert tracked.points(run) == expected(store, replicate)
        assert run.info.status == "FINISHED"


def test_a_study_as_mlflow_runs(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str
) -> None:
    track().close()
    tracked = Tracked(uri, study)
    check_complete(trained, store_copy, tracked)
    (parent,) = tracked.parents
    assert parent.info.status == "FAILED"
    assert parent.data.tags["archprior.git_commit"] == "abc123"
    assert tracked.artifacts(parent) == {"plan.parquet", "spec.yaml"}
    assert len(tracked.children) == len(trained.plan)
    for replicate in trained.plan.replicates:
        run = tracked.children[replicate.id]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        check_params(replicate, run.data.params)
        if run.data.tags["archprior.status"] == "finished":
            names = {"history.parquet", "predictions.parquet"}
            guided = replicate.condition.guidance is not None
            assert tracked.artifacts(run) == names | ({"alignment.parquet"} if guided else set())
            assert run.data.tags["archprior.device"] == "cpu"
            assert run.data.tags["archprior.torch_version"]


def check_params(replicate: Replicate, params: dict[str, str]) -> None:
    wanted = {"role": replicate.condition.role, "seed": str(replicate.seed)}
    wanted |= {"task": "translated_digits(places=1)", "train.batch_size": "50"}
    if replicate.condition.guidance is not None:
        labels = replicate.planned.labels
        wanted |= {"guide": "resnet2d(blocks=1,width=2)", "distance": "linear_cka", "alpha": "1.0"}
        wanted |= {"state": labels["state"], "control": labels["control"], "reduction": "sum"}
        wanted |= {"baseline_id": str(replicate.row()["baseline_id"])}
        trained = labels["state"] == "trained"
        assert params.get("guide_train.steps") == ("2" if trained else None)
    assert {name: params.get(name) for name in wanted} == wanted
    assert all("." not in name or name.startswith(("train.", "guide_train.")) for name in params)


def test_failed_and_blocked_replicates_have_runs_that_say_why(
    track: Track, trained: Any, uri: str, study: str
) -> None:
    track().close()
    tracked = Tracked(uri, study)
    guide = next(r for r in trained.plan.replicates if r.condition.role == "guide" and r.seed == 1)
    failed = tracked.children[guide.id]
    assert failed.data.tags["archprior.status"] == "failed"
    assert failed.data.tags["archprior.error"] == "RuntimeError: out of luck"
    assert failed.info.status == "FAILED"
    waiting = [r for r in trained.plan.replicates if r.requires == guide.id]
    assert len(waiting) == 2
    for replicate in waiting:
        run = tracked.children[replicate.id]
        assert run.data.tags["archprior.status"] == "blocked"
        assert guide.id in run.data.tags["archprior.error"]
        assert "out of luck" in run.data.tags["archprior.error"]
        assert run.info.status == "KILLED"


def test_a_second_tracker_adds_nothing(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str
) -> None:
    track().close()
    before = Tracked(uri, study)
    track().close()
    after = Tracked(uri, study)
    check_complete(trained, store_copy, after)
    assert [r.info.run_id for r in after.parents] == [r.info.run_id for r in before.parents]
    assert {i: r.info.run_id for i, r in after.children.items()} == {
        i: r.info.run_id for i, r in before.children.items()
    }
    assert sum(after.points(r).total() for r in after.children.values()) == sum(
        before.points(r).total() for r in before.children.values()
    )


def test_live_points_are_not_entered_again(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str
) -> None:
    tracker = track()
    for payload in trained.reports:
        if "metrics" in payload:
            tracker.log(payload)
        else:
            tracker.ended(payload["replicate_id"])
    tracker.close()
    check_complete(trained, store_copy, Tracked(uri, study))


@pytest.mark.parametrize("reported", [1, 4])
def test_a_driver_that_died_is_made_up_for(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str, reported: int
) -> None:
    """Part of the points came in live, from a driver of which nothing more was heard."""
    tracker = track()
    for payload in [p for p in trained.reports if "metrics" in p][:reported]:
        tracker.log(payload)
    tracker._queue.put(None)
    assert tracker._thread is not None
    tracker._thread.join()
    assert Tracked(uri, study).children
    track().close()
    check_complete(trained, store_copy, Tracked(uri, study))


def test_what_mlflow_missed_is_filled_in(
    track: Track,
    trained: Any,
    store_copy: Path,
    uri: str,
    study: str,
    monkeypatch: pytest.MonkeyPatch,
    said: list[str],
) -> None:
    """MLflow fails for a while: later points must not hide that earlier ones are missing."""
    monkeypatch.setattr(tracker_module, "_AWAY_SECONDS", 0.1)
    tracker = track()
    log_points, calls = tracker._runs.log_points, 0

    def sometimes(run_id: str, points: list[Any]) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            # It did what it was asked, and the answer was lost.
            log_points(run_id, points)
        if calls in (2, 3, 7):
            raise MlflowException("away for a moment")
        log_points(run_id, points)

    monkeypatch.setattr(tracker._runs, "log_points", sometimes)
    for payload in trained.reports:
        if "metrics" in payload:
            tracker.log(payload)
            time.sleep(0.02)
    tracker.close()
    assert calls > 7
    check_complete(trained, store_copy, Tracked(uri, study))
    assert any("does not answer, training goes on: away for a moment" in line for line in said)
    assert any("answers again" in line for line in said)


def test_a_run_whose_creation_was_not_answered_is_not_made_twice(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(tracker_module, "_AWAY_SECONDS", 0.1)
    tracker = track()
    create, lost = tracker._runs._client.create_run, [True, False, True]

    def create_and_lose(*arguments: Any, **more: Any) -> Run:
        run = create(*arguments, **more)
        if lost and lost.pop():
            raise MlflowException("no answer")
        return run

    monkeypatch.setattr(tracker._runs._client, "create_run", create_and_lose)
    for payload in trained.reports:
        if "metrics" in payload:
            tracker.log(payload)
            time.sleep(0.02)
    tracker.close()
    assert not lost
    check_complete(trained, store_copy, Tracked(uri, study))


def test_a_retrained_replicate_replaces_its_run(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str
) -> None:
    """Reports that the store does not know any more leave MLflow with their run."""
    track().close()
    replicate = finished(trained)[0]
    before = Tracked(uri, study).children[replicate.id].info.run_id
    Store(store_copy).replicate(replicate.id).discard()
    reports: list[dict[str, Any]] = []
    setting = TrialContext(store=str(store_copy), report=reports.append)
    run_pack([(replicate.condition, replicate.seed)], setting)
    # Its state was `missing` when the next driver began.
    state = Progress(trained.plan, Store(store_copy)).states[replicate.id]
    assert state.status == "finished"
    client = MlflowClient(tracking_uri=uri)
    client.set_tag(before, "archprior.status", "running")
    track().close()
    tracked = Tracked(uri, study)
    assert tracked.children[replicate.id].info.run_id != before
    check_complete(trained, store_copy, tracked)


def test_a_failed_replicate_that_is_trained_after_all_is_finished(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str
) -> None:
    track().close()
    progress = Progress(trained.plan, Store(store_copy))
    progress.forgive()
    assert progress.counts() == {"finished": 9, "missing": 3}
    reports: list[dict[str, Any]] = []
    setting = TrialContext(store=str(store_copy), report=reports.append)
    run_pack([(r.condition, r.seed) for r in progress.todo], setting)
    track().close()
    tracked = Tracked(uri, study)
    assert {run.info.status for run in tracked.children.values()} == {"FINISHED"}
    assert all("archprior.error" not in run.data.tags for run in tracked.children.values())
    for replicate in trained.plan.replicates:
        run = tracked.children[replicate.id]
        assert tracked.points(run) == expected(store_copy, replicate)


def test_runs_carry_the_provenance_of_their_own_training(
    track: Track, trained: Any, uri: str, study: str
) -> None:
    track().close()
    tracked = Tracked(uri, study)
    for replicate in finished(trained):
        tags = tracked.children[replicate.id].data.tags
        assert tags["archprior.git_commit"] == "trained"
        assert len(tags["archprior.data_fingerprint"]) == 16


def test_runs_begin_and_end_with_training(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str
) -> None:
    """Also where nothing was logged live, and of what failed."""
    track().close()
    tracked = Tracked(uri, study)
    for replicate in finished(trained):
        info = tracked.children[replicate.id].info
        result = Store(store_copy).replicate(replicate.id).result()
        assert result is not None
        assert info.end_time == int(result["ended"] * 1000)
        first = trained_at(store_copy, replicate)
        assert info.start_time <= min(first, info.end_time - result["train_seconds"] * 1000 + 1)
    guide = next(r for r in trained.plan.replicates if r.condition.role == "guide" and r.seed == 1)
    failure = Store(store_copy).replicate(guide.id).failure()
    assert failure is not None
    assert tracked.children[guide.id].info.end_time == int(failure.time * 1000)


def trained_at(store: Path, replicate: Replicate) -> int:
    """The time of the first report, in milliseconds since 1970."""
    return int(history(store, replicate)["timestamp"].iloc[0].timestamp() * 1000)


def test_a_run_that_is_logged_live_begins_before_its_first_report(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str
) -> None:
    tracker = track()
    before = time.time() * 1000
    for payload in trained.reports:
        if "metrics" in payload:
            tracker.log(payload)
    tracker.close()
    for replicate in finished(trained):
        info = Tracked(uri, study).children[replicate.id].info
        started = {
            p["started"]
            for p in trained.reports
            if p["replicate_id"] == replicate.id and "metrics" in p
        }
        assert {info.start_time} == started
        assert info.start_time < trained_at(store_copy, replicate) < before


def test_a_file_that_is_damaged_in_the_store_is_said_and_trained_again(
    track: Track, trained: Any, store_copy: Path, said: list[str]
) -> None:
    replicate = finished(trained)[0]
    stored = Store(store_copy).replicate(replicate.id)
    content = bytearray(stored.folder.read("predictions.parquet"))
    content[100] ^= 1
    stored.folder.write("predictions.parquet", bytes(content))
    track().close()
    assert any("predictions.parquet is damaged" in line for line in said)
    assert stored.result() is None


def test_artifacts_lie_beside_the_data_base(
    track: Track, store_copy: Path, uri: str, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store_copy.parent)
    track().close()
    if uri.startswith("sqlite"):
        assert list((store_copy / "mlflow-artifacts" / study).rglob("plan.parquet"))
    assert not (store_copy.parent / "mlruns").exists()


def test_the_plan_tells_analysis_what_to_expect(trained: Any) -> None:
    import json

    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(encode(trained.plan, FACTS)))
    ours = json.loads(table.schema.metadata[b"archprior"])
    assert ours["study"] == "small"
    assert ours["tasks"] == {
        "translated_digits(places=1)": {
            "headline": "accuracy",
            "higher_is_better": {"accuracy": True, "loss": False},
        }
    }
    assert ours["provenance"] == FACTS
    rows = table.to_pylist()
    assert [row["replicate_id"] for row in rows] == [r.id for r in trained.plan.replicates]
    assert rows[-1]["guide"] == "resnet2d(blocks=1,width=2)"
