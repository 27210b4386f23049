"""What goes wrong between a store and MLflow: all of it arrives there all the same, and once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from analysis.database import opened, uri_of
from study.tracking import database
from study.tracking import tracker as tracker_module
from study.tracking.mlflow_runs import StudyRuns
from study.tracking.tracker import Tracker, TrackingError
from tests.helpers.tracked import (
    Tracked,
    baselines,
    check_complete,
    expected,
    finished,
    states,
    stored_points,
    train,
    train_half,
)
from trainers.store.store import Store

pytestmark = pytest.mark.processes

Track = Callable[..., Tracker]
#: For what is the same over HTTP.
sqlite_alone = pytest.mark.parametrize("uri", ["sqlite"], indirect=True)

Until = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> list[MlflowClient]:
    """Clients with which trackers speak to MLflow, in the order of their making."""
    made: list[MlflowClient] = []

    def noted(uri: str) -> MlflowClient:
        made.append(opened(uri))
        return made[-1]

    monkeypatch.setattr(tracker_module, "opened", noted)
    return made


def mark_all(tracker: Tracker, trained: Any) -> None:
    for replicate in finished(trained):
        tracker.mark(replicate.id)


@pytest.mark.parametrize("number", [1, 4])
def test_a_driver_that_died_is_made_up_for(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str, number: int, until: Until
) -> None:
    tracker = track()
    marked = finished(trained)[:number]
    for replicate in marked:
        tracker.mark(replicate.id)
    until(lambda: len(Tracked(uri, study).children) == number)
    tracker.stop()  # as a driver that is killed
    track().close()
    check_complete(trained, store_copy, Tracked(uri, study))


def test_a_driver_that_died_while_a_replicate_was_trained(
    track: Track, trained: Any, tmp_path: Path, uri: str, study: str, until: Until
) -> None:
    """Its history goes on with its first points, and so does its run."""
    store, replicate = tmp_path / "new", baselines(trained)[0]
    tracker = track(store)
    train_half(store, replicate)
    tracker.mark(replicate.id)
    half = stored_points(store, replicate)
    until(lambda: held(uri, study, replicate.id) == len(half))
    tracker.stop()  # as a driver that is killed
    before = Tracked(uri, study).children[replicate.id].info
    assert before.status == "RUNNING"
    tracker = track(store)
    train(store, [replicate], lambda _: tracker.mark(replicate.id))
    tracker.progress.refresh(replicate.id)
    tracker.close()
    tracked = Tracked(uri, study)
    run = tracked.children[replicate.id]
    assert run.info.run_id == before.run_id
    assert stored_points(store, replicate)[: len(half)] == half
    assert tracked.points(run) == expected(store, replicate)


def num_ended(uri: str, study: str) -> int:
    """Number of finished replicates in MLflow."""
    children = Tracked(uri, study).children.values()
    return [run.info.status for run in children].count("FINISHED")


def held(uri: str, study: str, replicate_id: str) -> int:
    """Number of points of a replicate in MLflow."""
    tracked = Tracked(uri, study)
    run = tracked.children.get(replicate_id)
    return 0 if run is None else tracked.points(run).total()


def test_what_mlflow_missed_is_filled_in(
    track: Track,
    trained: Any,
    store_copy: Path,
    uri: str,
    study: str,
    clients: list[MlflowClient],
    monkeypatch: pytest.MonkeyPatch,
    said: list[str],
    until: Until,
) -> None:
    """MLflow fails for a while, and answers are lost, whatever it was asked."""
    tracker = track()
    (client,), calls = clients, 0
    faults = {2: "refuse", 3: "lose", 4: "refuse", 8: "lose", 12: "lose", 21: "refuse", 30: "lose"}

    def spoil(name: str) -> None:
        right = getattr(client, name)

        def sometimes(*arguments: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            fault = faults.get(calls)
            if fault != "refuse":
                answer = right(*arguments, **more)
            if fault is not None:
                raise MlflowException("away for a moment")
            return answer

        monkeypatch.setattr(client, name, sometimes)

    for name in ("log_batch", "create_run", "set_terminated", "update_run", "search_runs"):
        spoil(name)
    mark_all(tracker, trained)
    until(lambda: calls > 30 and num_ended(uri, study) == len(finished(trained)))
    tracker.close()
    check_complete(trained, store_copy, Tracked(uri, study))
    assert any("is behind, training goes on: away for a moment" in line for line in said)
    assert any("is written again" in line for line in said)


def test_a_run_whose_creation_was_not_answered_is_not_made_twice(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str,
    clients: list[MlflowClient], monkeypatch: pytest.MonkeyPatch, until: Until,
) -> None:  # fmt: skip
    tracker = track()
    (client,) = clients
    create, lost = client.create_run, [True, False, True]

    def create_and_lose(*arguments: Any, **more: Any) -> Run:
        run = create(*arguments, **more)
        if lost and lost.pop():
            raise MlflowException("no answer")
        return run

    monkeypatch.setattr(client, "create_run", create_and_lose)
    mark_all(tracker, trained)
    until(lambda: not lost and num_ended(uri, study) == len(finished(trained)))
    tracker.close()
    check_complete(trained, store_copy, Tracked(uri, study))


@sqlite_alone
def test_what_mlflow_refuses_keeps_nothing_else_from_it(
    track: Track, trained: Any, uri: str, study: str, monkeypatch: pytest.MonkeyPatch,
    said: list[str], until: Until,
) -> None:  # fmt: skip
    tracker = track()
    refused, *others = finished(trained)
    begin = StudyRuns.begin

    def refuse(runs: StudyRuns, replicate: Any, *arguments: Any, **more: Any) -> str:
        if replicate.id == refused.id:
            raise MlflowException("INVALID_PARAMETER_VALUE: I do not like it")
        return begin(runs, replicate, *arguments, **more)

    monkeypatch.setattr(StudyRuns, "begin", refuse)
    mark_all(tracker, trained)
    until(lambda: {r.id for r in others} == set(Tracked(uri, study).children))
    with pytest.raises(TrackingError, match="I do not like it"):
        tracker.close()
    assert any("I do not like it" in line for line in said)


@sqlite_alone
def test_a_store_that_cannot_be_read_for_a_moment(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str,
    monkeypatch: pytest.MonkeyPatch, said: list[str], until: Until,
) -> None:  # fmt: skip
    tracker = track()
    replicate_of, failing = tracker.progress.store.replicate, [True]

    def sometimes(identifier: str) -> Any:
        if failing and failing.pop():
            raise OSError("stale file handle")
        return replicate_of(identifier)

    monkeypatch.setattr(tracker.progress.store, "replicate", sometimes)
    mark_all(tracker, trained)
    until(lambda: any("training goes on: stale file handle" in line for line in said))
    tracker.close()
    check_complete(trained, store_copy, Tracked(uri, study))


def test_a_retrained_replicate_replaces_its_run(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str
) -> None:
    """Reports that the store does not know any more leave MLflow with their run."""
    track().close()
    replicate = finished(trained)[0]
    before = Tracked(uri, study).children[replicate.id].info.run_id
    Store(store_copy).replicate(replicate.id).discard()
    train(store_copy, [replicate])
    assert states(trained, store_copy).states[replicate.id].status == "finished"
    track().close()
    tracked = Tracked(uri, study)
    assert tracked.children[replicate.id].info.run_id != before
    check_complete(trained, store_copy, tracked)


@sqlite_alone
def test_a_replicate_that_is_retrained_in_the_same_run_replaces_its_run(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str, until: Until
) -> None:
    """Its first new report does so."""
    tracker, replicate = track(), baselines(trained)[0]
    tracker.mark(replicate.id)
    until(lambda: num_ended(uri, study))
    before = Tracked(uri, study).children[replicate.id].info.run_id
    Store(store_copy).replicate(replicate.id).discard()
    tracker.progress.refresh(replicate.id)
    train_half(store_copy, replicate, lambda _: tracker.mark(replicate.id))
    number = len(stored_points(store_copy, replicate))
    until(lambda: held(uri, study, replicate.id) == number)
    assert Tracked(uri, study).children[replicate.id].info.run_id != before
    train(store_copy, [replicate])
    tracker.progress.refresh(replicate.id)
    tracker.close()
    check_complete(trained, store_copy, Tracked(uri, study))


def test_a_failed_replicate_that_is_trained_after_all_is_finished(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str
) -> None:
    track().close()
    progress = states(trained, store_copy)
    progress.forgive()
    assert progress.counts() == {"finished": 9, "missing": 3}
    train(store_copy, progress.todo)
    track().close()
    tracked = Tracked(uri, study)
    assert {run.info.status for run in tracked.children.values()} == {"FINISHED"}
    assert all("archprior.error" not in run.data.tags for run in tracked.children.values())
    for replicate in trained.plan.replicates:
        run = tracked.children[replicate.id]
        assert tracked.points(run) == expected(store_copy, replicate)


@sqlite_alone
def test_a_failed_replicate_that_is_tried_again_counts_as_running(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str, until: Until
) -> None:
    replicate = baselines(trained)[0]
    stored = Store(store_copy).replicate(replicate.id)
    stored.discard()
    stored.fail(RuntimeError("out of memory"))
    track().close()
    assert "archprior.error" in Tracked(uri, study).children[replicate.id].data.tags
    stored.forgive()
    tracker = track()
    train_half(store_copy, replicate, lambda _: tracker.mark(replicate.id))
    until(lambda: held(uri, study, replicate.id))
    run = Tracked(uri, study).children[replicate.id]
    assert run.info.status == "RUNNING"
    assert run.data.tags["archprior.status"] == "running"
    assert "archprior.error" not in run.data.tags
    tracker.close()


@sqlite_alone
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


def delete_run(client: MlflowClient, study: str, replicate_id: str) -> None:
    client.delete_run(Tracked(client.tracking_uri, study).children[replicate_id].info.run_id)


def delete_experiment(client: MlflowClient, study: str, _replicate_id: str) -> None:
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)


@pytest.mark.parametrize("delete", [delete_run, delete_experiment], ids=lambda d: d.__name__)
def test_what_is_deleted_in_mlflow_while_it_is_written_is_made_anew(
    delete: Callable[..., None], track: Track, trained: Any, store_copy: Path, uri: str,
    study: str, until: Until,
) -> None:  # fmt: skip
    replicate = baselines(trained)[0]
    Store(store_copy).replicate(replicate.id).discard()
    tracker = track()
    train_half(store_copy, replicate, lambda _: tracker.mark(replicate.id))
    until(lambda: held(uri, study, replicate.id))
    delete(MlflowClient(tracking_uri=uri), study, replicate.id)
    train(store_copy, [replicate])
    tracker.progress.refresh(replicate.id)
    mark_all(tracker, trained)
    until(lambda: num_ended(uri, study) == len(finished(trained)))
    tracker.close()
    check_complete(trained, store_copy, Tracked(uri, study))


@sqlite_alone
def test_an_mlflow_that_is_replaced_by_a_new_one_gets_everything(
    track: Track, trained: Any, store_copy: Path, study: str, until: Until,
    said: list[str],
) -> None:  # fmt: skip
    """Also what the first one had had to the end."""
    path = store_copy.parent / "other.db"
    uri = uri_of(path)
    tracker = track(uri=uri)
    first, *rest = finished(trained)
    tracker.mark(first.id)
    until(lambda: num_ended(uri, study))
    path.unlink()
    database.prepare(uri, Store(store_copy).root, study, said.append)
    for replicate in rest:
        tracker.mark(replicate.id)
    until(lambda: any("is written again" in line for line in said))
    tracker.close()
    check_complete(trained, store_copy, Tracked(uri, study))
