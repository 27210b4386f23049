"""MLflow as a projection of the store, into sqlite and into a real server over HTTP."""

from __future__ import annotations

import io
import json
import math
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from study.plan.replicates import Replicate
from study.plan.table import encode
from study.tracking.tracker import Tracker
from tests.helpers.tracked import (
    Tracked,
    baselines,
    check_complete,
    expected,
    failed_guide,
    finished,
    history,
    stored_points,
    train,
    train_half,
)
from tests.study.tracking.conftest import FACTS
from trainers.messages import Ended, Measured, Message
from trainers.runtime.devices import device_name
from trainers.store.store import Replicate as StoredReplicate
from trainers.store.store import Store

pytestmark = pytest.mark.processes

Track = Callable[..., Tracker]
Until = Callable[[Callable[[], Any]], Any]


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
        check_params(replicate, run.data.params)
        if run.data.tags["archprior.status"] == "finished":
            names = {"history.parquet", "predictions.parquet"}
            guided = replicate.condition.guidance is not None
            assert tracked.artifacts(run) == names | ({"alignment.parquet"} if guided else set())
            assert run.data.tags["archprior.device"] == device_name(torch.device("cpu"))
            assert run.data.tags["archprior.torch_version"]


def check_params(replicate: Replicate, params: dict[str, str]) -> None:
    wanted = {"role": replicate.condition.role, "seed": str(replicate.seed)}
    wanted |= {"task": "translated_digits(places=1)", "train.batch_size": "50"}
    if replicate.condition.target.name == "fcn":
        # Also what is at its default, so that runs can be sorted and charted by it.
        wanted |= {"target.depth": "2", "target.width": "8", "target.norm": "none"}
    if replicate.condition.guidance is not None:
        labels = replicate.planned.labels
        wanted |= {"guide": "resnet2d(blocks=1,width=2)", "distance": "linear_cka", "alpha": "1.0"}
        wanted |= {"state": labels["state"], "control": labels["control"], "reduction": "sum"}
        wanted |= {"baseline_id": str(replicate.row()["baseline_id"])}
        trained = labels["state"] == "trained"
        assert params.get("guide_train.steps") == ("2" if trained else None)
    assert {name: params.get(name) for name in wanted} == wanted
    kinds = {name.partition(".")[0] for name in params if "." in name}
    assert kinds <= {"train", "guide_train", "task", "target", "guide", "distance"}


def test_failed_and_blocked_replicates_have_runs_that_say_why(
    track: Track, trained: Any, uri: str, study: str
) -> None:
    track().close()
    tracked = Tracked(uri, study)
    guide = failed_guide(trained)
    failed = tracked.children[guide.id]
    assert failed.data.tags["archprior.status"] == "failed"
    assert failed.data.tags["archprior.error"] == "RuntimeError: out of luck"
    assert failed.info.status == "FAILED"
    waiting = [r for r in trained.plan.replicates if guide.id in r.requires]
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


def test_what_is_marked_is_written_before_the_end(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str, until: Until
) -> None:
    tracker = track()
    for _ in range(3):
        for replicate in finished(trained):
            tracker.mark(replicate.id)
        time.sleep(0.1)
    number = len(finished(trained))
    until(lambda: statuses(uri, study).count("FINISHED") == number)
    check_complete(trained, store_copy, Tracked(uri, study))
    tracker.close()
    check_complete(trained, store_copy, Tracked(uri, study))


def statuses(uri: str, study: str) -> list[str]:
    return [run.info.status for run in Tracked(uri, study).children.values()]


def test_points_are_in_mlflow_while_a_replicate_is_trained(
    track: Track, trained: Any, tmp_path: Path, uri: str, study: str, until: Until
) -> None:
    """Training waits for them at each report, mostly a tenth of a second."""
    store, replicate = tmp_path / "new", baselines(trained)[0]
    tracker, seen = track(store), []

    def report(message: Message) -> None:
        if isinstance(message, Ended):
            tracker.progress.refresh(replicate.id)
        tracker.mark(replicate.id)
        if isinstance(message, Measured):
            wanted = {p for p in stored_points(store, replicate) if p[0] <= message.step}
            held = until(lambda: wanted <= set(points_of(uri, study, replicate)) and wanted)
            seen.append(len(held))

    train(store, [replicate], report)
    points = history(store, replicate)
    points["is_test"] = points["metric"].str.startswith("test/")
    assert len(seen) == len(points.drop_duplicates(["step", "is_test"]))
    tracker.close()
    assert points_of(uri, study, replicate) == expected(store, replicate)


def points_of(uri: str, study: str, replicate: Replicate) -> Any:
    tracked = Tracked(uri, study)
    run = tracked.children.get(replicate.id)
    return {} if run is None else tracked.points(run)


def test_only_histories_of_what_was_marked_or_has_ended_are_read(
    track: Track, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    """A plan may hold thousands of replicates, and a store may be a bucket."""
    store, (one, other) = tmp_path / "new", baselines(trained)
    train_half(store, one)
    train_half(store, other)
    read: list[str] = []
    history_of = StoredReplicate.history

    def noted(stored: StoredReplicate) -> Any:
        read.append(stored.id)
        return history_of(stored)

    monkeypatch.setattr(StoredReplicate, "history", noted)
    tracker = track(store)
    tracker.mark(one.id)
    until(lambda: read)
    time.sleep(0.3)
    tracker.close()
    # Once more at the end, for it is not known to have ended.
    assert read == [one.id, one.id]


def test_an_interrupted_study_is_killed_and_goes_on(
    track: Track, trained: Any, tmp_path: Path, uri: str, study: str
) -> None:
    store, replicate = tmp_path / "new", baselines(trained)[0]
    tracker = track(store)
    train_half(store, replicate)
    tracker.mark(replicate.id)
    tracker.close(interrupted=True)
    tracked = Tracked(uri, study)
    assert [run.info.status for run in tracked.parents] == ["KILLED"]
    run = tracked.children.pop(replicate.id)
    assert not tracked.children
    assert run.info.status == "KILLED"
    before = tracked.points(run)
    assert before == Counter(stored_points(store, replicate))
    tracker = track(store)
    train(store, [replicate])
    tracker.progress.refresh(replicate.id)
    tracker.close()
    tracked = Tracked(uri, study)
    again = tracked.children[replicate.id]
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")
    assert before < tracked.points(again) == expected(store, replicate)


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
    """Also of what failed."""
    track().close()
    tracked = Tracked(uri, study)
    for replicate in finished(trained):
        info = tracked.children[replicate.id].info
        result = Store(store_copy).replicate(replicate.id).result()
        assert result is not None
        assert info.end_time == int(result.ended * 1000)
        first = trained_at(store_copy, replicate)
        assert info.start_time <= min(first, info.end_time - result.train_seconds * 1000 + 1)
    guide = failed_guide(trained)
    failure = Store(store_copy).replicate(guide.id).failure()
    assert failure is not None
    assert tracked.children[guide.id].info.end_time == int(failure.time * 1000)


def trained_at(store: Path, replicate: Replicate) -> int:
    """The time of the first report, in milliseconds since 1970."""
    return int(history(store, replicate)["timestamp"].iloc[0].timestamp() * 1000)


def test_a_run_that_is_written_live_begins_with_its_first_report(
    track: Track, trained: Any, tmp_path: Path, uri: str, study: str
) -> None:
    store, replicate = tmp_path / "new", baselines(trained)[0]
    train_half(store, replicate)
    time.sleep(0.1)
    tracker = track(store)
    tracker.mark(replicate.id)
    tracker.close()
    info = Tracked(uri, study).children[replicate.id].info
    assert info.start_time == trained_at(store, replicate)


def test_artifacts_lie_beside_the_data_base(
    track: Track, store_copy: Path, uri: str, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store_copy.parent)
    track().close()
    if uri.startswith("sqlite"):
        assert list((store_copy / "mlflow-artifacts" / study).rglob("plan.parquet"))
    assert not (store_copy.parent / "mlruns").exists()


def test_the_plan_tells_analysis_what_to_expect(trained: Any) -> None:
    table = pq.read_table(io.BytesIO(encode(trained.plan, FACTS)))
    ours = json.loads(table.schema.metadata[b"archprior"])
    assert ours["study"] == "small"
    assert ours["tasks"] == {
        "translated_digits(places=1)": {
            "primary_metric": "accuracy",
            "higher_is_better": {"accuracy": True, "loss": False},
            "chance": {"accuracy": 0.1, "loss": math.log(10)},
            "data": "fixed",
            "answers": "classes",
        }
    }
    assert (ours["margin"], ours["confirm"]) == ({}, [])
    assert ours["provenance"] == FACTS
    rows = table.to_pylist()
    assert [row["replicate_id"] for row in rows] == [r.id for r in trained.plan.replicates]
    assert rows[-1]["guide"] == "resnet2d(blocks=1,width=2)"
