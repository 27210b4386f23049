"""Packs of several workers: the numbers of one, from one's checkpoints, and no hang in a fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import trainers
from tests.helpers.process_group import ProcessGroup
from tests.helpers.worker_trials import die_in_step, fail_alone, train_trial, work_for_ray
from trainers.conditions.condition import Condition
from trainers.messages import Aborted, Ended, Measured, Message, Warned, decode
from trainers.store.store import WEIGHTS, Store
from trainers.training import train
from trainers.trial.trial import TrialContext, run_trial

MakeCondition = Callable[..., Condition]


@pytest.fixture
def pair(groups: Callable[[int], ProcessGroup]) -> ProcessGroup:
    return groups(2)


def silent(_payload: dict[str, Any]) -> None:
    pass


def ends(reports: list[Message]) -> list[tuple[str, str | None]]:
    return [(r.status, r.error) for r in reports if isinstance(r, Ended)]


def values(result: train.Result, metric: str) -> dict[int, float]:
    return {p.step: p.value for p in result.history.points if p.metric == metric}


def similar(found: train.Result, expected: train.Result) -> None:
    """The same but for rounding: every point of the history, and the test metrics."""
    points = {(p.step, p.metric): p.value for p in found.history.points}
    wanted = {(p.step, p.metric): p.value for p in expected.history.points}
    assert points.keys() == wanted.keys()
    losses = [key for key in wanted if "loss" in key[1] or "distance" in key[1]]
    assert {k: points[k] for k in losses} == pytest.approx({k: wanted[k] for k in losses}, rel=1e-4)
    assert found.metrics["loss"] == pytest.approx(expected.metrics["loss"], rel=1e-4)
    mine, its = found.network.state_dict(), expected.network.state_dict()
    assert list(mine) == list(its)
    for name, tensor in mine.items():
        assert torch.allclose(tensor, its[name], rtol=1e-3, atol=1e-4), name


def diverging(make: MakeCondition) -> Condition:
    return make(lr=1e30, optimizer="sgd")


def conditions(make: MakeCondition) -> list[Condition]:
    guided = make(control="none", state="trained", optimizer="sgd", batch_size=21)
    assert guided.guide_conditions
    return [
        guided.guide_conditions[0],
        guided,
        make("token", control="shuffled", optimizer="sgd"),
        make("token", control="none", optimizer="sgd", grad_clip=0.1),
    ]


def test_two_workers_give_what_one_gives(
    make: MakeCondition, pair: ProcessGroup, tmp_path: Path
) -> None:
    trial_of = conditions(make)
    reports, nothing = pair(train_trial, str(tmp_path / "two"), trial_of)
    assert nothing is None
    assert ends(reports) == [("finished", None)] * len(trial_of)
    for condition in trial_of:
        found = trainers.train(condition, store=tmp_path / "two", report=silent)
        similar(found, trainers.train(condition, store=tmp_path / "one", report=silent))
        names = Store(tmp_path / "two").replicate(found.replicate_id).folder.names()
        alone = Store(tmp_path / "one").replicate(found.replicate_id).folder.names()
        assert set(names) - {"provenance.json"} == set(alone)


@pytest.mark.parametrize("first", ["one", "two"])
def test_a_run_goes_on_with_another_number_of_workers(
    first: str, make: MakeCondition, pair: ProcessGroup, tmp_path: Path, reports: Any,
    interruption: type[Exception],
) -> None:  # fmt: skip
    condition = make(control="none", optimizer="sgd")
    whole = trainers.train(condition, report=silent)
    if first == "one":
        with pytest.raises(interruption):
            trainers.train(condition, store=tmp_path, report=reports(interrupt_at=4))
        after, _ = pair(train_trial, str(tmp_path), [condition])
        assert [r.step for r in after if isinstance(r, Measured)] == [6, 6]
    else:
        other = make(optimizer="sgd")
        after, _ = pair(train_trial, str(tmp_path), [condition, other], ("report", 0))
        assert ends(after) == [("failed", "RuntimeError: at step 4"), ("finished", None)]
        Store(tmp_path).replicate(whole.replicate_id).forgive()
    similar(trainers.train(condition, store=tmp_path, report=silent), whole)


def test_what_diverges_leaves_the_others(
    make: MakeCondition, pair: ProcessGroup, tmp_path: Path
) -> None:
    trial_of = [diverging(make), make(target={"width": 10**12}), make()]
    reports, _ = pair(train_trial, str(tmp_path / "two"), trial_of)
    alone: list[dict[str, Any]] = []
    run_trial(
        [(c, 0) for c in trial_of], TrialContext(store=str(tmp_path / "one"), report=alone.append)
    )
    assert ends(reports) == ends(alone)
    assert [status for status, _ in ends(alone)] == ["failed", "failed", "finished"]


@pytest.mark.parametrize(
    ("fault", "rank", "error"),
    [
        ("step", None, "MemoryError: in a step"),
        ("fill", None, "MemoryError: with features"),
        ("setup", None, "MemoryError: in the beginning"),
        ("setup", 0, "MemoryError: in the beginning"),
        ("setup", 1, "PeerError: worker 1: MemoryError: in the beginning"),
    ],
)
def test_a_fault_ends_its_replicate_on_all_workers(
    fault: str, rank: int | None, error: str, make: MakeCondition, pair: ProcessGroup,
    tmp_path: Path,
) -> None:  # fmt: skip
    # Streamed data: what a guide keeps of it is filled together.
    trial_of = [make("token", control="none", alpha=alpha) for alpha in (1, 2)]
    reports, _ = pair(train_trial, str(tmp_path), trial_of, (fault, rank))
    assert ends(reports) == [("failed", error), ("finished", None)]


def test_a_lost_lease_is_waited_for(
    make: MakeCondition, pair: ProcessGroup, tmp_path: Path
) -> None:
    condition = make(control="none")
    reports, _ = pair(train_trial, str(tmp_path), [condition, make()], ("lease", 0))
    assert ends(reports) == [("finished", None)] * 2
    assert reports[-1].replicate_id == Store(tmp_path).replicate_of(condition, 0).id
    identifier = reports[-1].replicate_id
    steps = [r.step for r in reports if isinstance(r, Measured) and r.replicate_id == identifier]
    # What was saved with the lease that was lost is not measured again.
    assert steps == [4, 6, 6]
    history = Store(tmp_path).replicate(identifier).history()
    assert history is not None
    assert list(dict.fromkeys(point.step for point in history.points)) == [0, 2, 4, 6]


def test_a_full_disk_ends_the_pack(make: MakeCondition, pair: ProcessGroup, tmp_path: Path) -> None:
    pair.send(train_trial, str(tmp_path), [make()], ("disk", 0))
    (_, raised), follower = pair.receive()
    assert raised is not None
    assert "StorageError" in raised
    assert "No space left" in raised
    assert follower == (None, None)
    reports, _ = pair(train_trial, str(tmp_path), [make()])
    assert ends(reports) == [("finished", None)]


def test_a_damaged_guide_is_trained_again(
    make: MakeCondition, pair: ProcessGroup, tmp_path: Path
) -> None:
    guided = make(control="none", state="trained")
    guide = guided.guide_conditions[0]
    assert guide is not None
    trainers.train(guide, store=tmp_path, report=silent)
    folder = Store(tmp_path).replicate_of(guide, 0).folder
    folder.write(WEIGHTS, b"x" * len(folder.read(WEIGHTS)))
    reports, _ = pair(train_trial, str(tmp_path), [guided])
    assert ends(reports) == [("finished", None)]
    assert [r.text.endswith(": retrained") for r in reports if isinstance(r, Warned)] == [True]
    assert {r.replicate_id for r in reports} == {Store(tmp_path).replicate_of(guided, 0).id}


@pytest.mark.processes
def test_what_a_worker_that_fails_alone_says_has_no_secret() -> None:
    group = ProcessGroup(2)
    try:
        group.send(fail_alone, "401 for https://bob:hunter2@data.lab/x?token=hunter2")
        _, (_, raised) = group.receive()
    finally:
        group.close()
    assert raised is not None
    # All of it, as Ray logs it: the cause, and where it was raised.
    assert "worker 1 failed alone: OSError('401 for https://***@data.lab/x?token=***" in raised
    assert "in fail_alone" in raised
    assert "hunter2" not in raised


@pytest.mark.processes
def test_a_worker_that_fails_alone_ends_the_group(make: MakeCondition, tmp_path: Path) -> None:
    group = ProcessGroup(2)
    try:
        group.send(die_in_step, str(tmp_path), make(control="none", report_every=1))
        (_, raised), (_, other) = group.receive()
    finally:
        group.close()
    assert other == "died"
    assert raised is not None
    assert "BrokenGroupError" in raised
    replicate = Store(tmp_path).replicate_of(make(control="none", report_every=1), 0)
    # Its process died: no failure yet, but a start that counts, and the checkpoints so far.
    assert replicate.failure() is None
    assert replicate.folder.exists("starts.json")
    assert not replicate.folder.exists("lease.json")
    reports: list[Message] = []
    run_trial(
        [(make(control="none", report_every=1), 0)],
        TrialContext(store=str(tmp_path), report=reports.append),
    )
    assert ends(reports) == [("finished", None)]
    assert min(r.step for r in reports if isinstance(r, Measured)) == 3


@pytest.mark.processes
def test_all_workers_report_to_ray_as_often(
    make: MakeCondition, pair: ProcessGroup, tmp_path: Path
) -> None:
    # Train waits in each report until every worker has made it.
    leader, follower = pair(work_for_ray, str(tmp_path), [make(), diverging(make)], "same")
    payloads = [decode(payload) for call in leader for payload in call["progress"]]
    assert [status for status, _ in ends(payloads)] == ["finished", "failed"]
    assert len(leader) == len(follower) > 4
    assert {len(call["progress"]) for call in follower} == {0}


def test_foreign_code_stops_all_workers(
    make: MakeCondition, pair: ProcessGroup, tmp_path: Path
) -> None:
    leader, follower = pair(work_for_ray, str(tmp_path), [make()], "other")
    (call,) = leader
    ended = decode(call["progress"][0])
    assert isinstance(ended, Aborted)
    assert "run again if sources were edited after the run began" in ended.error
    assert ended.traceback == "", "the program did nothing wrong"
    assert len(follower) == 1
    assert not (tmp_path / "replicates").exists()


def test_two_workers_score_the_test_split_where_validation_was_best(
    make: MakeCondition, pair: ProcessGroup, tmp_path: Path
) -> None:
    trial_of = [make(control="none", optimizer="sgd", lr=1.0, steps=12)]
    pair(train_trial, str(tmp_path / "plain"), trial_of)
    pair(train_trial, str(tmp_path / "scored"), trial_of, None, True)
    plain, scored = (
        trainers.train(trial_of[0], store=tmp_path / name, report=silent)
        for name in ("plain", "scored")
    )
    mine, its = plain.network.state_dict(), scored.network.state_dict()
    assert all(torch.equal(mine[name], its[name]) for name in mine)
    assert not values(plain, "test_at_best/accuracy")
    validation = values(scored, "validation/accuracy")
    best = max((step for step in validation if step), key=lambda step: (validation[step], -step))
    assert max(values(scored, "test_at_best/accuracy")) == best
