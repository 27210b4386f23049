"""How often a checkpoint is written changes nothing; the history does not wait for one."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trainers
from trainers.conditions.condition import Condition
from trainers.errors import UserError
from trainers.guides.pool import GuidePool
from trainers.messages import Measured, Message, Warned, silent
from trainers.parallel.workers import Workers
from trainers.store import checkpoint, pointer
from trainers.store.checkpoint import Checkpoint, CheckpointEvery
from trainers.store.lease import Lease, LeasedError
from trainers.store.store import Store
from trainers.store.tables import History
from trainers.training import train
from trainers.training.log import Log
from trainers.training.saving import Saver, StopRequestedError

MakeCondition = Callable[..., Condition]
SameResult = Callable[[train.Result, train.Result], None]


def stopping(
    condition: Condition, store: Path, every: CheckpointEvery, at: int, report: Any = silent
) -> int:
    """Train until the `at`-th question whether to stop; the step of the checkpoint."""
    place, asked = Store(store), itertools.count(1)
    replicate = place.replicate_of(condition, 0)
    saver = Saver(replicate, every, stop=lambda: next(asked) == at)
    with Lease(replicate.folder), pytest.raises(StopRequestedError):
        train.train_held(condition, 0, place, report, saver, GuidePool())
    return pointer.saved_step(replicate)


@pytest.mark.parametrize("run", [{}, {"control": "none", "state": "trained"}])
def test_a_checkpoint_may_come_between_two_reports(
    run: dict[str, Any], make: MakeCondition, tmp_path: Path, reports: Any, same_result: SameResult
) -> None:
    condition = make(**run, steps=12, report_every=4, target={"dropout": 0.3})
    whole = trainers.train(condition, report=silent)
    first, second = reports(), reports()
    assert stopping(condition, tmp_path, CheckpointEvery(steps=3), 3, first) == 6
    resumed = trainers.train(condition, store=tmp_path, report=second)
    same_result(whole, resumed)
    assert first.points + second.points == [
        (p.step, p.metric, p.value) for p in whole.history.points
    ]


def test_the_history_is_ahead_of_the_checkpoint(
    make: MakeCondition, tmp_path: Path, reports: Any, interruption: type[Exception],
    same_result: SameResult,
) -> None:  # fmt: skip
    condition = make(steps=12, report_every=2)
    whole = trainers.train(condition, report=silent)
    replicate = Store(tmp_path).replicate_of(condition, 0)
    every = CheckpointEvery(steps=5)
    first, second = reports(interrupt_at=8), reports()
    with pytest.raises(interruption):
        trainers.train(condition, store=tmp_path, checkpoint_every=every, report=first)
    before = replicate.history()
    assert before is not None
    assert (pointer.saved_step(replicate), before.points[-1].step) == (5, 8)
    time.sleep(0.01)
    resumed = trainers.train(condition, store=tmp_path, checkpoint_every=every, report=second)
    same_result(whole, resumed)
    # What was reported keeps its time stamps, and is not reported again.
    assert resumed.history.points[: len(before.points)] == before.points
    assert min(message.step for message in second.payloads) == 10
    assert {p.timestamp for p in before.points if p.step == 8} == {first.payloads[-1].timestamp}


def test_the_history_alone_is_gone_on_with(
    make: MakeCondition, tmp_path: Path, reports: Any, interruption: type[Exception],
    same_result: SameResult,
) -> None:  # fmt: skip
    condition = make(control="none")
    whole = trainers.train(condition, report=silent)
    never = CheckpointEvery(seconds=1e6)
    with pytest.raises(interruption):
        trainers.train(
            condition, store=tmp_path, checkpoint_every=never, report=reports(interrupt_at=4)
        )
    assert pointer.saved_step(Store(tmp_path).replicate_of(condition, 0)) == 0
    report = reports()
    same_result(whole, trainers.train(condition, store=tmp_path, report=report))
    assert {message.step for message in report.payloads} == {6}


def test_numbers_of_another_machine_end_the_history_where_they_differ(
    make: MakeCondition, tmp_path: Path, reports: Any, interruption: type[Exception],
    same_result: SameResult,
) -> None:  # fmt: skip
    condition = make(steps=12, report_every=2)
    whole = trainers.train(condition, report=silent)
    every, first = CheckpointEvery(steps=3), reports(interrupt_at=10)
    with pytest.raises(interruption):
        trainers.train(condition, store=tmp_path, checkpoint_every=every, report=first)
    replicate = Store(tmp_path).replicate_of(condition, 0)
    history = replicate.history()
    assert history is not None
    assert (pointer.saved_step(replicate), history.points[-1].step) == (9, 10)
    at = next(i for i, p in enumerate(history.points) if p.step == 10)
    history.points[at + 1] = history.points[at + 1]._replace(value=0.123)
    replicate.save_history(history)
    messages: list[Message] = []
    resumed = trainers.train(
        condition, store=tmp_path, checkpoint_every=every, report=messages.append
    )
    same_result(whole, resumed)
    (warned,) = [message for message in messages if isinstance(message, Warned)]
    assert "from step 10 on other numbers come out" in warned.text
    steps = [message.step for message in messages if isinstance(message, Measured)]
    assert steps == [10, 12, 12]


def test_several_workers_stop_at_reports_alone(tmp_path: Path, make: MakeCondition) -> None:
    group = Workers()
    group.world_size = 2
    replicate = Store(tmp_path).replicate_of(make(), 0)
    log = Log(History(replicate.id), silent)
    every = CheckpointEvery(steps=1)
    state = Checkpoint(step=1, train_seconds=1, weights={}, learned={}, optimizer={}, window={})
    saver = Saver(replicate, every, stop=lambda: True, workers=group)
    saver.after(1, log, lambda: state, reported=False)
    assert pointer.saved_step(replicate) == 1
    with pytest.raises(StopRequestedError):
        saver.after(2, log, lambda: state, reported=True)


def test_a_lease_that_is_lost_while_the_test_split_is_scored(
    make: MakeCondition, tmp_path: Path
) -> None:
    condition, checks = make(), itertools.count(1)
    replicate = Store(tmp_path).replicate_of(condition, 0)

    def check() -> None:
        # Two reports before the last one; then it is lost.
        if next(checks) > 2 * 2:
            raise LeasedError("another has it")

    saver = Saver(replicate, check=check)
    with pytest.raises(LeasedError):
        train.train_held(condition, 0, Store(tmp_path), silent, saver, GuidePool())
    assert not replicate.folder.exists("predictions.parquet")
    assert replicate.result() is None


def test_checkpoints_by_the_clock(
    make: MakeCondition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    save = checkpoint.save

    def noted(replicate: Any, state: Any, *more: Any) -> None:
        written.append(state.step)
        save(replicate, state, *more)

    monkeypatch.setattr(checkpoint, "save", noted)
    trainers.train(
        make(), store=tmp_path / "a", checkpoint_every=CheckpointEvery(seconds=1e-9), report=silent
    )
    assert written == [1, 2, 3, 4, 5]
    written.clear()
    trainers.train(
        make(), store=tmp_path / "b", checkpoint_every=CheckpointEvery(seconds=60), report=silent
    )
    assert written == []


def test_a_request_to_stop_is_seen_between_reports(
    make: MakeCondition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_result: SameResult
) -> None:
    monkeypatch.setattr("trainers.training.saving.ASK_SECONDS", 0.0)
    condition = make(steps=8, report_every=8)
    assert stopping(condition, tmp_path, CheckpointEvery(), 3) == 3
    same_result(
        trainers.train(condition, report=silent),
        trainers.train(condition, store=tmp_path, report=silent),
    )


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"steps": 0}, "checkpoint_every: steps is 0; allowed: 1 or more"),
        ({"seconds": 0.0}, "seconds is 0.0; allowed: above 0"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"steps": 1, "seconds": 1.0}, "not both"),
    ],
)
def test_what_is_no_interval(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        CheckpointEvery(**setting)


_MEMORY = """
import resource, sys
from pathlib import Path
import torch
from trainers.store import checkpoint, pointer
from trainers.store.checkpoint import Checkpoint
from trainers.store.store import Store
from trainers.store.tables import History

network = torch.nn.Linear(5000, 5000, bias=False)
optimizer = torch.optim.Adam(network.parameters())
network(torch.ones(1, 5000)).sum().backward()
optimizer.step()
replicate = Store(sys.argv[1]).replicate("0" * 16)
history = History("0" * 16)
torch.save({}, Path(sys.argv[1]) / "first")

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

before = peak()
checkpoint.save(
    replicate,
    Checkpoint(step=1, train_seconds=1.0, weights=network.state_dict(), learned={},
               optimizer=optimizer.state_dict(), window={}),
    history,
)
checkpoint.save_final(replicate, network)
files = "checkpoint/1.pt", "checkpoint/weights.safetensors"
print(peak() - before, *(replicate.folder.size(name) // 2**20 for name in files))
"""


@pytest.mark.processes
def test_files_are_not_whole_in_memory(tmp_path: Path) -> None:
    # Adam's two moments and the weights: 286 MiB, of which no more than a part is copied.
    command = [sys.executable, "-c", _MEMORY, str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    more, state, weights = map(int, out.split())
    assert (state, weights) == (286, 95)
    assert more < 32


@pytest.mark.processes
def test_a_full_disk_is_said_with_the_file(make: MakeCondition, tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys, trainers, pickle\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "condition = pickle.load(open(sys.argv[2], 'rb'))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)\n"
        "from trainers.messages import silent\n"
        "trainers.train(condition, store=sys.argv[1], report=silent)\n"
    )
    pickled = tmp_path / "condition"
    pickled.write_bytes(pickle.dumps(make(target={"width": 64, "depth": 4})))
    arguments = [str(tmp_path / "store"), str(pickled), "50000"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("trainers.store.folder.StorageError: cannot write")
    assert "checkpoint/2.pt: [Errno 27] File too large" in last
