"""Runs of conditions, between the study's run and those of replicates."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from study import Study
from study.plan.replicates import Replicate
from study.tracking.tracker import Tracker
from tests.helpers.tracked import (
    Tracked,
    baselines,
    check_complete,
    finished,
    history,
    states,
    train,
    train_half,
)
from tests.study.tracking.conftest import FACTS
from trainers.conditions.ids import condition_id
from trainers.store.store import Store

pytestmark = pytest.mark.processes

Track = Callable[..., Tracker]
Until = Callable[[Callable[[], Any]], Any]
sqlite_alone = pytest.mark.parametrize("uri", ["sqlite"], indirect=True)


def condition_of(tracked: Tracked, replicate: Replicate) -> Run:
    return tracked.conditions[condition_id(replicate.condition)]


def members(trained: Any, replicate: Replicate) -> list[Replicate]:
    return [r for r in trained.plan.replicates if r.condition == replicate.condition]


def test_three_levels_of_runs(track: Track, trained: Any, uri: str, study: str) -> None:
    track().close()
    tracked = Tracked(uri, study)
    (parent,) = tracked.parents
    assert len(tracked.conditions) == len(trained.plan.conditions) == 6
    for run in tracked.conditions.values():
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    for replicate in trained.plan.replicates:
        run = tracked.children[replicate.id]
        above = condition_of(tracked, replicate)
        assert run.data.tags["mlflow.parentRunId"] == above.info.run_id
        assert run.info.run_name == f"{above.info.run_name}, seed {replicate.seed}"
    names = [run.info.run_name for run in tracked.conditions.values()]
    target, guide = "fcn", "resnet2d"
    assert set(names) == {
        f"guide {guide}", f"baseline {target}",
        *(f"{target} <- {guide} {rest}"
          for rest in ("trained", "untrained", "trained shuffled", "untrained shuffled")),
    }  # fmt: skip


def test_a_condition_says_what_its_replicates_share(
    track: Track, trained: Any, uri: str, study: str
) -> None:
    track().close()
    tracked = Tracked(uri, study)
    for replicate in trained.plan.replicates:
        above = condition_of(tracked, replicate).data.params
        own = tracked.children[replicate.id].data.params
        assert above.items() <= own.items()
        assert {"task", "target", "role", "train.steps"} <= above.keys()
        assert {"seed", "replicate_id"} <= own.keys() - above.keys()


def test_its_metrics_are_means_over_seeds_at_each_step(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str
) -> None:
    track().close()
    tracked = Tracked(uri, study)
    for replicate in finished(trained):
        those = [r for r in members(trained, replicate) if r in finished(trained)]
        run = condition_of(tracked, replicate)
        frame = pd.concat([history(store_copy, r) for r in those])
        means = frame.groupby(["metric", "step"])["value"].mean()
        assert {"validation/accuracy", "test/accuracy", "train/loss"} <= run.data.metrics.keys()
        for metric, values in means.groupby(level="metric"):
            points = tracked.client.get_metric_history(run.info.run_id, str(metric))
            found = {point.step: point.value for point in points}
            assert len(found) == len(points)
            assert found == pytest.approx(values.droplevel("metric").to_dict(), rel=1e-12)
        lost = len(members(trained, replicate)) - len(those)
        assert (run.data.metrics["n"], run.data.metrics["n_failed"]) == (len(those), lost)
        assert run.info.status == ("FAILED" if lost else "FINISHED")


def test_bands_of_three_seeds(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str
) -> None:
    three = Study(**trained.spec | {"name": study, "seeds": 3, "states": "untrained"}).plan()
    train(store_copy, [r for r in three.replicates if r.condition.role == "baseline"])
    close(three, store_copy, uri)
    tracked = Tracked(uri, study)
    (one, *_) = [r for r in three.replicates if r.condition.role == "baseline"]
    run = condition_of(tracked, one)
    assert run.data.metrics["n"] == 3
    metrics = run.data.metrics
    low, mean, high = (metrics[f"test/loss{part}"] for part in ("/low", "", "/high"))
    assert low < mean < high
    values = [
        history(store_copy, r).query("metric == 'test/loss'")["value"].item()
        for r in three.replicates
        if r.condition == one.condition
    ]
    assert mean - low == pytest.approx(4.302652729911275 * pd.Series(values).sem(), rel=1e-9)


def close(plan: Any, store: Path, uri: str) -> None:
    """A run of the study that trains nothing."""
    from study.plan.progress import Progress

    tracker = Tracker(Progress(plan, Store(store)), uri, FACTS, print)
    tracker.start({})
    tracker.close()


def test_seeds_that_come_later_make_its_run_anew(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str
) -> None:
    close(Study(**trained.spec | {"name": study, "seeds": 1}).plan(), store_copy, uri)
    before = Tracked(uri, study)
    replicate = baselines(trained)[0]
    assert condition_of(before, replicate).data.metrics["n"] == 1
    track().close()
    after = Tracked(uri, study)
    check_complete(trained, store_copy, after)
    run = condition_of(after, replicate)
    assert run.data.metrics["n"] == 2
    assert run.info.run_id != condition_of(before, replicate).info.run_id
    assert before.children.items() <= {
        name: run for name, run in after.children.items() if name in before.children
    }.items() or {n: r.info.run_id for n, r in before.children.items()} == {
        name: after.children[name].info.run_id for name in before.children
    }
    # Fewer seeds: the other one's run is still below it.
    close(Study(**trained.spec | {"name": study, "seeds": 1}).plan(), store_copy, uri)
    fewer = Tracked(uri, study)
    run = condition_of(fewer, replicate)
    assert run.data.metrics["n"] == 1
    for member in members(trained, replicate):
        above = fewer.children[member.id].data.tags["mlflow.parentRunId"]
        assert above == run.info.run_id


def test_runs_of_the_older_layout_move_below_their_conditions(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str
) -> None:
    """There, all replicates were below the study's run."""
    track().close()
    tracked = Tracked(uri, study)
    client, (parent,) = tracked.client, tracked.parents
    for run in tracked.conditions.values():
        client.delete_run(run.info.run_id)
    for run in tracked.children.values():
        client.set_tag(run.info.run_id, "mlflow.parentRunId", parent.info.run_id)
    before = {name: run.info.run_id for name, run in tracked.children.items()}
    track().close()
    after = Tracked(uri, study)
    check_complete(trained, store_copy, after)
    assert {name: run.info.run_id for name, run in after.children.items()} == before


def test_two_studies_that_share_replicates_have_runs_each(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str
) -> None:
    """A run has one parent, so each study has runs of its own of what they share."""
    track().close()
    other = Study(**trained.spec | {"name": f"{study}-other", "controls": []}).plan()
    close(other, store_copy, uri)
    one, two = Tracked(uri, study), Tracked(uri, other.name)
    check_complete(trained, store_copy, one)
    assert two.children.keys() < one.children.keys()
    assert two.conditions.keys() < one.conditions.keys()
    ids = [{run.info.run_id for run in each.children.values()} for each in (one, two)]
    assert not ids[0] & ids[1]
    for each in (one, two):
        above = {run.info.run_id for run in each.conditions.values()}
        assert {r.data.tags["mlflow.parentRunId"] for r in each.children.values()} == above


def test_two_runs_of_one_condition_become_one(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str
) -> None:
    """Where the answer to its creation was lost."""
    track().close()
    tracked = Tracked(uri, study)
    run = condition_of(tracked, baselines(trained)[0])
    names = ("archprior.kind", "archprior.condition_id", "mlflow.parentRunId")
    tags = {name: run.data.tags[name] for name in names}
    tracked.client.create_run(run.info.experiment_id, tags=tags)
    track().close()
    check_complete(trained, store_copy, Tracked(uri, study))


def test_a_condition_is_running_until_its_last_replicate_has_ended(
    track: Track, trained: Any, tmp_path: Path, uri: str, study: str, until: Until
) -> None:
    store, (one, other) = tmp_path / "new", baselines(trained)
    tracker = track(store)
    train(store, [one])
    tracker.progress.refresh(one.id)
    tracker.mark(one.id)
    until(lambda: statuses(uri, study) == ["FINISHED"])
    run = condition_of(Tracked(uri, study), one)
    assert (run.info.status, run.data.metrics) == ("RUNNING", {})
    train_half(store, other)
    tracker.mark(other.id)
    tracker.close(interrupted=True)
    run = condition_of(Tracked(uri, study), one)
    assert (run.info.status, run.data.metrics) == ("KILLED", {})
    tracker = track(store)
    train(store, [other])
    tracker.progress.refresh(other.id)
    tracker.mark(other.id)
    # As soon as that is known, not only at the end.
    until(lambda: condition_of(Tracked(uri, study), one).info.status == "FINISHED")
    assert condition_of(Tracked(uri, study), one).data.metrics["n"] == 2
    tracker.close()


def statuses(uri: str, study: str) -> list[str]:
    return [run.info.status for run in Tracked(uri, study).children.values()]


@sqlite_alone
def test_nothing_is_sent_twice(
    track: Track, trained: Any, uri: str, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    track().close()
    calls: list[str] = []
    for name in ("log_batch", "create_run", "log_inputs", "set_tag", "set_terminated"):
        right = getattr(MlflowClient, name)

        def counted(*a: Any, right: Any = right, name: str = name, **k: Any) -> Any:
            calls.append(name)
            return right(*a, **k)

        monkeypatch.setattr(MlflowClient, name, counted)
    track().close()
    # Facts, data sets, end and mark of the study's own run.
    assert sorted(calls) == ["log_batch", "log_inputs", "set_tag", "set_terminated"]


def test_data_sets_are_inputs_with_their_digests(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str
) -> None:
    track().close()
    tracked = Tracked(uri, study)
    for replicate in finished(trained):
        result = Store(store_copy).replicate(replicate.id).result()
        assert result is not None
        for run in (tracked.children[replicate.id], condition_of(tracked, replicate)):
            (given,) = run.inputs.dataset_inputs
            assert given.dataset.name == "translated_digits(places=1)"
            assert given.dataset.digest == result.data_fingerprint
            assert json.loads(given.dataset.source)["task"] == "translated_digits"
            assert json.loads(given.dataset.profile)["num_classes"] == 10
            assert "-1, 1, 16, 16" in given.dataset.schema
            assert [(tag.key, tag.value) for tag in given.tags] == [
                ("mlflow.data.context", "training")
            ]
    assert len(tracked.parents[0].inputs.dataset_inputs) == 1


def test_source_commit_and_user_are_in_mlflows_own_tags(
    track: Track, trained: Any, uri: str, study: str
) -> None:
    track().close()
    tracked = Tracked(uri, study)
    (parent,) = tracked.parents
    replicate = finished(trained)[0]
    runs = [parent, tracked.children[replicate.id], condition_of(tracked, replicate)]
    for run, commit in zip(runs, ("abc123", "trained", "trained"), strict=True):
        tags = run.data.tags
        assert tags["mlflow.source.name"] == f"archprior run {study}"
        assert tags["mlflow.source.type"] == "LOCAL"
        assert tags["mlflow.source.git.commit"] == commit
        assert tags["mlflow.user"]


def test_weights_are_linked_from_the_store(
    track: Track, trained: Any, store_copy: Path, uri: str, study: str
) -> None:
    import hashlib

    track().close()
    tracked = Tracked(uri, study)
    for replicate in finished(trained):
        tags = tracked.children[replicate.id].data.tags
        content = (store_copy / tags["archprior.weights"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == tags["archprior.weights_sha256"]


def test_the_experiment_is_one_of_model_training(track: Track, uri: str, study: str) -> None:
    track()
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    client.set_experiment_tag(experiment.experiment_id, "mlflow.experimentKind", "chosen")
    track().close()
    again = client.get_experiment_by_name(study)
    assert again is not None
    assert again.tags["mlflow.experimentKind"] == "chosen"


def test_runs_last_as_long_as_their_training(
    track: Track, trained: Any, tmp_path: Path, uri: str, study: str, until: Until
) -> None:
    """Also where they were begun in MLflow with the first report."""
    store, replicate = tmp_path / "new", baselines(trained)[0]
    tracker = track(store)
    train(store, [replicate], lambda _: seen(tracker, replicate, uri, study, until))
    tracker.progress.refresh(replicate.id)
    tracker.close()
    tracked = Tracked(uri, study)
    result = Store(store).replicate(replicate.id).result()
    assert result is not None
    info = tracked.children[replicate.id].info
    assert info.end_time == int(result.ended * 1000)
    assert 0 <= info.end_time - info.start_time - int(result.train_seconds * 1000) < 60_000


def seen(tracker: Tracker, replicate: Replicate, uri: str, study: str, until: Until) -> None:
    tracker.mark(replicate.id)
    until(lambda: Tracked(uri, study).children)


def test_a_progress_without_runs_has_no_conditions(
    track: Track, trained: Any, tmp_path: Path, uri: str, study: str
) -> None:
    track(tmp_path / "new").close()
    assert not Tracked(uri, study).conditions
    assert states(trained, tmp_path / "new").counts()["missing"]
