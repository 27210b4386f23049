"""Interrupted runs, crashes and damaged files: nothing is lost, repeated or believed."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import trainers
from trainers.conditions.condition import Condition
from trainers.conditions.ids import replicate_id
from trainers.conditions.schedule import Schedule
from trainers.guides import frozen
from trainers.messages import Measured, silent
from trainers.store import checkpoint
from trainers.store.folder import Folder
from trainers.store.store import WEIGHTS, CorruptError, Replicate, Store
from trainers.store.tables import History
from trainers.training import train

MakeCondition = Callable[..., Condition]
SameResult = Callable[[train.Result, train.Result], None]

DROPOUT = {"target": {"dropout": 0.3}}
RUNS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "baseline, dropout": DROPOUT,
    "momentum": {"optimizer": "sgd", "lr_schedule": "cosine"},
    "guided, cached": {"control": "none", "state": "trained"} | DROPOUT,
    "guided, streamed": {"kind": "token", "control": "none", "state": "trained"},
    "shuffled": {"control": "shuffled"},
    "noise, streamed": {"kind": "token", "control": "noise"},
    "stopped": {"control": "none", "stop_step": 3},
    "every third step": {"control": "none", "guidance": {"schedule": Schedule(every=3)}} | DROPOUT,
    "every other step, streamed": {
        "kind": "token",
        "control": "none",
        "guidance": {"schedule": Schedule(every=2)},
    },
}


def points(result: train.Result) -> list[tuple[int, str, float]]:
    return [(p.step, p.metric, p.value) for p in result.history.points]


@pytest.mark.parametrize("at", [2, 4])
@pytest.mark.parametrize("run", RUNS)
def test_resumed_is_uninterrupted(
    run: str, at: int, make: MakeCondition, tmp_path: Path, same_result: SameResult, reports: Any,
    interruption: type[Exception],
) -> None:  # fmt: skip
    condition = make(**RUNS[run])
    whole = trainers.train(condition, report=silent)
    first, second = reports(interrupt_at=at), reports()
    with pytest.raises(interruption):
        trainers.train(condition, store=tmp_path, report=first)
    resumed = trainers.train(condition, store=tmp_path, report=second)
    same_result(whole, resumed)
    assert first.points + second.points == points(whole)
    assert min(payload.step for payload in second.payloads) == at + 2
    same_result(whole, trainers.train(condition, store=tmp_path, report=reports(interrupt_at=0)))


def test_a_live_guide_gives_what_a_kept_one_gives(
    make: MakeCondition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reports: Any,
    interruption: type[Exception], same_result: SameResult,
) -> None:  # fmt: skip
    condition = make(control="none")
    kept = trainers.train(condition, report=silent)
    monkeypatch.setattr(frozen, "CACHE_BYTES", 0)
    live = trainers.train(condition, report=silent)
    assert live.metrics["loss"] == pytest.approx(kept.metrics["loss"], rel=1e-5)
    with pytest.raises(interruption):
        trainers.train(condition, store=tmp_path, report=reports(interrupt_at=4))
    same_result(live, trainers.train(condition, store=tmp_path, report=silent))


def test_nothing_is_reported_before_the_store_holds_it(make: MakeCondition, tmp_path: Path) -> None:
    condition = make(control="none")
    replicate = Store(tmp_path).replicate_of(condition, 0)
    seen = []

    def report(payload: Measured) -> None:
        table = pq.read_table(io.BytesIO(replicate.folder.read("history.parquet"))).to_pylist()
        held = {(row["step"], row["metric"], row["value"]) for row in table}
        assert {(payload.step, *item) for item in payload.metrics.items()} <= held
        saved = checkpoint.load(replicate, replicate.history())
        assert replicate.result() or (saved is not None and saved.step >= payload.step)
        assert payload.replicate_id == replicate.id
        seen.append(payload.step)

    trainers.train(condition, store=tmp_path, report=report)
    assert seen == sorted(seen)
    assert set(seen) == {0, 2, 4, 6}


def test_a_finished_replicate_is_loaded(
    make: MakeCondition, tmp_path: Path, reports: Any, same_result: SameResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    condition = make(control="none")
    first = trainers.train(condition, store=tmp_path, report=silent)
    monkeypatch.delattr(train.Run, "fit")
    report = reports()
    same_result(first, trainers.train(condition, store=tmp_path, report=report))
    assert report.payloads == []


def test_a_finished_replicate_keeps_no_optimiser(make: MakeCondition, tmp_path: Path) -> None:
    result = trainers.train(make(), store=tmp_path, report=silent)
    folder = Store(tmp_path).replicate(result.replicate_id).folder
    assert (folder / "checkpoint").names() == ["weights.safetensors"]
    assert set(folder.names()) == {
        "condition.json", "history.parquet", "checkpoint", "predictions.parquet", "result.json"
    }  # fmt: skip


def test_a_checkpoint_replaces_the_one_before(
    make: MakeCondition, tmp_path: Path, reports: Any, interruption: type[Exception]
) -> None:
    condition = make()
    with pytest.raises(interruption):
        trainers.train(condition, store=tmp_path, report=reports(interrupt_at=4))
    folder = Store(tmp_path).replicate_of(condition, 0).folder
    assert set((folder / "checkpoint").names()) == {"4.pt", "latest.json"}


def test_a_trained_guide_is_trained_into_the_store_once(
    make: MakeCondition, tmp_path: Path, reports: Any, interruption: type[Exception]
) -> None:
    condition = make(control="none", state="trained")
    guide = condition.guide_conditions[0]
    assert guide is not None
    held = Store(tmp_path).replicate_of(guide, 0)
    with pytest.raises(interruption):
        trainers.train(condition, store=tmp_path, report=reports(interrupt_at=0))
    written = held.folder.read("result.json")
    assert json.loads(written)["steps"] == 2
    other = make(control="shuffled", state="trained", target={"depth": 3})
    report = reports()
    trainers.train(other, store=tmp_path, report=report)
    assert held.folder.read("result.json") == written
    assert {p.replicate_id for p in report.payloads} == {replicate_id(other, 0)}
    assert len(Store(tmp_path).known()) == 3


def test_a_guide_in_memory_is_the_guide_in_the_store(
    make: MakeCondition, tmp_path: Path, same_result: SameResult
) -> None:
    condition = make(control="none", state="trained")
    same_result(
        trainers.train(condition, report=silent),
        trainers.train(condition, store=tmp_path, report=silent),
    )


class Disk:
    """Ends the run at the k-th write or removal, before or after it is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
        self.count, self.fail_at, self.after, self._error = 0, -1, False, error
        for name in ("write_if_given", "write_with", "remove", "remove_file"):
            monkeypatch.setattr(Folder, name, self._wrapped(getattr(Folder, name)))

    def _wrapped(self, operation: Any) -> Any:
        def counted(folder: Folder, *args: Any) -> Any:
            self.count += 1
            if self.count == self.fail_at and not self.after:
                raise self._error
            done = operation(folder, *args)
            if self.count == self.fail_at:
                raise self._error
            return done

        return counted


@pytest.mark.processes
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("control", [None, "none"])
def test_a_crash_at_any_write_or_removal(
    after: bool, control: str | None, make: MakeCondition, tmp_path: Path, reports: Any,
    interruption: type[Exception], monkeypatch: pytest.MonkeyPatch, same_result: SameResult,
) -> None:  # fmt: skip
    condition = make(control=control, steps=5)
    disk = Disk(monkeypatch, interruption)
    whole = trainers.train(condition, store=tmp_path / "whole", report=silent)
    count, disk.after = disk.count, after
    assert count > 10
    for k in range(1, count + 1):
        store, report = tmp_path / str(k), reports()
        disk.count, disk.fail_at = 0, k
        with pytest.raises(interruption):
            trainers.train(condition, store=store, report=report)
        # What was reported once is held: a resumed run begins after it.
        steps_held = [payload.step for payload in report.payloads]
        disk.fail_at = -1
        same_result(whole, trainers.train(condition, store=store, report=report))
        assert len(report.points) == len(set(report.points)), k
        assert set(report.points) <= set(points(whole)), k
        again = [payload.step for payload in report.payloads[len(steps_held) :]]
        assert not set(steps_held) & set(again), k


CHECKPOINT = ["checkpoint/latest.json", "checkpoint/2.pt"]
DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda _content: b"",
    "flipped": lambda content: content[:99] + bytes([content[99] ^ 128]) + content[100:],
}


@pytest.fixture
def half(
    make: MakeCondition, tmp_path: Path, reports: Any, interruption: type[Exception]
) -> tuple[Condition, Replicate]:
    """A half-trained replicate and its condition."""
    condition = make()
    with pytest.raises(interruption):
        trainers.train(condition, store=tmp_path, report=reports(interrupt_at=2))
    return condition, Store(tmp_path).replicate_of(condition, 0)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", [*CHECKPOINT, "history.parquet"])
def test_damaged_checkpoints_are_refused(
    name: str, damage: str, half: tuple[Condition, Replicate], tmp_path: Path
) -> None:
    condition, replicate = half
    content = replicate.folder.read(name)
    if (name, damage) == ("history.parquet", "flipped"):
        # Parquet itself would not notice: here a value changes.
        history = History.from_parquet(replicate.id, content)
        history.points[1] = history.points[1]._replace(value=0.5)
        replicate.folder.write(name, history.to_parquet())
    else:
        replicate.folder.write(name, DAMAGE[damage](content))
    with pytest.raises(CorruptError, match=replicate.id):
        trainers.train(condition, store=tmp_path, report=silent)


@pytest.mark.parametrize("name", [*CHECKPOINT[1:], "history.parquet"])
def test_checkpoints_with_a_lost_file_are_refused(
    name: str, half: tuple[Condition, Replicate], tmp_path: Path
) -> None:
    condition, replicate = half
    replicate.folder.remove(name)
    with pytest.raises(CorruptError, match=replicate.id):
        trainers.train(condition, store=tmp_path, report=silent)


@pytest.fixture
def finished(make: MakeCondition, tmp_path: Path) -> tuple[Condition, Replicate]:
    condition = make(control="none")
    trainers.train(condition, store=tmp_path, report=silent)
    return condition, Store(tmp_path).replicate_of(condition, 0)


VOUCHED = ["history.parquet", "predictions.parquet", "alignment.parquet", WEIGHTS]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", VOUCHED)
def test_the_result_vouches_for_the_files(
    name: str, damage: str, finished: tuple[Condition, Replicate]
) -> None:
    _, replicate = finished
    assert replicate.read(name)
    replicate.folder.write(name, DAMAGE[damage](replicate.folder.read(name)))
    with pytest.raises(CorruptError, match=f"{replicate.id}/{name}"):
        replicate.read(name)


@pytest.mark.parametrize("name", VOUCHED)
def test_a_result_with_a_lost_file_is_no_result(
    name: str, finished: tuple[Condition, Replicate], tmp_path: Path
) -> None:
    condition, replicate = finished
    replicate.folder.remove(name)
    with pytest.raises(CorruptError, match=f"{name} is missing"):
        trainers.train(condition, store=tmp_path, report=silent)
    with pytest.raises(CorruptError, match=f"{name} is missing"):
        trainers.load(tmp_path, replicate.id)


def test_a_damaged_result_is_an_error_until_it_is_discarded(
    finished: tuple[Condition, Replicate], tmp_path: Path
) -> None:
    condition, replicate = finished
    replicate.folder.write("result.json", replicate.folder.read("result.json")[:-20])
    with pytest.raises(CorruptError, match=r"result\.json is damaged"):
        trainers.train(condition, store=tmp_path, report=silent)
    replicate.discard()
    assert replicate.folder.names() == []
    assert trainers.train(condition, store=tmp_path, report=silent).steps == 6


def test_failures(make: MakeCondition, tmp_path: Path) -> None:
    replicate = Store(tmp_path).replicate_of(make(), 0)
    assert replicate.failure() is None
    replicate.fail(ValueError("why"))
    failure = replicate.failure()
    assert failure is not None
    assert failure.error == "ValueError: why"
    with pytest.raises(FileNotFoundError, match=r"condition\.json"):
        replicate.described()


def test_a_store_in_a_bucket(
    make: MakeCondition, reports: Any, interruption: type[Exception], same_result: SameResult
) -> None:
    uri = f"memory://{uuid.uuid4().hex}/store"
    condition = make(control="none", state="trained")
    with pytest.raises(interruption):
        trainers.train(condition, store=uri, report=reports(interrupt_at=4))
    result = trainers.train(condition, store=uri, report=silent)
    same_result(result, trainers.train(condition, report=silent))
    store = Store(Store(uri).uri)
    assert len(store.known()) == 2
    assert (store.replicate(result.replicate_id).folder / "checkpoint").names() == [
        "weights.safetensors"
    ]
    assert not trainers.load(uri, result.replicate_id).training
    store.replicate(result.replicate_id).discard()
    with pytest.raises(FileNotFoundError):
        trainers.load(uri, result.replicate_id)
