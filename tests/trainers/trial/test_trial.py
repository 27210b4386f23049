"""A pack: the failure of one replicate is not that of the others, and nothing repeats for ever."""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trainers
from tests.helpers.full_disk import full_disk
from trainers import comparison
from trainers.conditions.condition import Condition
from trainers.conditions.encoding import to_json
from trainers.messages import Ended, Message, Warned
from trainers.store import store
from trainers.store.folder import Folder, StorageError
from trainers.store.lease import Lease
from trainers.store.store import WEIGHTS, Replicate, Store
from trainers.training import train
from trainers.trial import trial
from trainers.trial.trial import TrialContext, run_trial

MakeCondition = Callable[..., Condition]


class Ran:
    """A pack that is run on a store, and what it reports."""

    def __init__(self, place: Path) -> None:
        self.place, self.reports = place, list[Message]()

    def __call__(self, *conditions: Condition, **setting: Any) -> list[tuple[str, str | None]]:
        begin = len(self.reports)
        content = {"store": str(self.place), "report": self.reports.append, "run": "one"}
        run_trial([(condition, 0) for condition in conditions], TrialContext(**content | setting))
        return [(r.status, r.error) for r in self.reports[begin:] if isinstance(r, Ended)]

    def stored(self, condition: Condition) -> Replicate:
        return Store(self.place).replicate_of(condition, 0)

    @property
    def warnings(self) -> list[str]:
        return [r.text for r in self.reports if isinstance(r, Warned)]


@pytest.fixture
def ran(tmp_path: Path) -> Ran:
    return Ran(tmp_path)


def diverging(make: MakeCondition) -> Condition:
    return make(lr=1e30, optimizer="sgd")


def test_the_failure_of_one_leaves_the_others(make: MakeCondition, ran: Ran) -> None:
    good, bad, huge = make(), diverging(make), make(target={"width": 10**12})
    ends = ran(bad, huge, good)
    assert [status for status, _ in ends] == ["failed", "failed", "finished"]
    assert "DivergedError: train/loss is " in str(ends[0][1])
    assert "RuntimeError" in str(ends[1][1])
    failure = ran.stored(bad).failure()
    assert failure is not None
    assert failure.error == ends[0][1]
    assert "trainers/training/log.py" in failure.traceback
    assert ran.stored(good).result() is not None


def test_what_another_finishes_before_the_lease_is_taken_is_not_trained_again(
    make: MakeCondition, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    condition, other, before = make(), Ran(ran.place), list[bytes]()

    class Late(Lease):
        def __enter__(self) -> Late:
            with monkeypatch.context() as patched:
                patched.setattr(trial, "Lease", Lease)
                if not before:
                    other(condition)
                    before.append(other.stored(condition).folder.read("result.json"))
            return super().__enter__()

    monkeypatch.setattr(trial, "Lease", Late)
    assert ran(condition) == [("finished", None)]
    assert before == [ran.stored(condition).folder.read("result.json")]


def test_what_failed_is_left_alone_until_it_is_forgiven(
    make: MakeCondition, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    condition = make()

    def away(*_arguments: Any, **_more: Any) -> None:
        raise MemoryError("all of it")

    with monkeypatch.context() as patch:
        patch.setattr(train.Run, "evaluate", away)
        assert ran(condition) == [("failed", "MemoryError: all of it")]
    assert ran(condition) == [("failed", "MemoryError: all of it")]
    ran.stored(condition).forgive()
    assert ran(condition) == [("finished", None)]
    assert not ran.stored(condition).folder.exists("starts.json")


def test_code_that_exits_fails_its_replicate_only(
    make: MakeCondition, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(_run: Any, **_more: Any) -> None:
        raise SystemExit(3)

    with monkeypatch.context() as patch:
        patch.setattr(train.Run, "evaluate", leave)
        assert ran(make()) == [("failed", "SystemExit: 3")]


def test_a_guide_that_failed_blocks_what_it_guides(make: MakeCondition, ran: Ran) -> None:
    guided = make(control="none", state="trained")
    guide = guided.guide_conditions[0]
    assert guide is not None
    ran.stored(guide).fail(RuntimeError("out of luck"))
    assert ran(guided) == [
        ("blocked", f"guide {ran.stored(guide).id} failed: RuntimeError: out of luck")
    ]
    assert ran.stored(guided).failure() is None


def test_the_debugger_sees_the_exception(make: MakeCondition, ran: Ran) -> None:
    with pytest.raises(trainers.training.log.DivergedError):  # type: ignore[attr-defined]
        ran(diverging(make), debug=True)


class Died(BaseException):
    """Stands for kill -9: nothing catches it."""


def die(_payload: Any = None) -> None:
    raise Died


def test_what_is_killed_each_time_is_left_to_the_next_run(make: MakeCondition, ran: Ran) -> None:
    condition, other = make(report_every=6), make(lr=2e-2)
    for _ in range(store.MAX_STARTS):
        with pytest.raises(Died):
            _kill(ran, condition)
    ends = ran(condition, other, run="one")
    assert [status for status, _ in ends] == ["missing", "finished"]
    assert "started 5 times from step 0" in str(ends[0][1])
    assert ran.stored(condition).failure() is None
    assert ran(condition, run="two") == [("finished", None)]


def test_nobody_waits_for_a_guide_that_is_started_no_more(make: MakeCondition, ran: Ran) -> None:
    guided = make(control="none", state="trained")
    guide = guided.guide_conditions[0]
    for _ in range(store.MAX_STARTS):
        with pytest.raises(Died):
            _kill(ran, guide)
    ends = ran(guide, guided, awaits_guides=True)
    assert [status for status, _ in ends] == ["missing", "blocked"]
    assert ends[1][1] == f"guide {ran.stored(guide).id} is not finished"


CRASH = """
import ctypes, json, sys
import trainers.training.train as train
from trainers.conditions.encoding import from_json
from trainers.trial.trial import TrialContext, run_trial
train.Run.fit = lambda *_arguments: ctypes.string_at(0)
condition = from_json(json.loads(sys.argv[1]))
run_trial([(condition, 0)], TrialContext(store=sys.argv[2], report=print, run="one"))
"""


@pytest.mark.processes
def test_what_crashes_twice_by_its_own_fault_has_failed(make: MakeCondition, ran: Ran) -> None:
    condition = make(report_every=6)
    for _ in range(store.MAX_FAULTS):
        command = [sys.executable, "-c", CRASH, json.dumps(to_json(condition)), str(ran.place)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == -signal.SIGSEGV, ended.stderr
    ((status, error),) = ran(condition, run="one")
    assert status == "failed"
    assert "died 2 times after step 0: Fatal Python error: Segmentation fault" in str(error)
    assert "string_at" in str(error)


def test_only_starts_of_the_run_count_as_out_of_memory(make: MakeCondition, ran: Ran) -> None:
    condition = make(report_every=6)
    for _ in range(store.MAX_FAULTS):
        with pytest.raises(Died):
            _kill(ran, condition)
        ran.stored(condition).count_fault("another", "out of memory: 3 GiB")
        ran.stored(condition).count_fault("one", "out of memory: 2 GiB")
    ((status, error),) = ran(condition, run="one")
    assert (status, error) == (
        "failed",
        "CrashedError: its process died 2 times after step 0: out of memory: 2 GiB; "
        "`archprior retry` tries again",
    )


def test_deaths_in_other_runs_and_after_a_new_checkpoint_do_not_count(
    make: MakeCondition, ran: Ran
) -> None:
    condition = make()
    for run in ("one", "two", "three"):
        with pytest.raises(Died):
            _kill(ran, condition, run=run)
    # Each of these gets one checkpoint further before it dies.
    for _ in range(2):
        with pytest.raises(Died):
            run_trial([(condition, 0)], TrialContext(store=str(ran.place), report=die, run="one"))
    assert ran(condition) == [("finished", None)]


def _kill(ran: Ran, condition: Condition, run: str = "one") -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.Run, "fit", lambda *_arguments: die())
        ran(condition, run=run)


DAMAGE: dict[str, Callable[[Folder], None]] = {
    "truncated result": lambda f: f.write("result.json", f.read("result.json")[:50]),
    "result of nothing": lambda f: f.write("result.json", b""),
    "truncated weights": lambda f: f.write(WEIGHTS, f.read(WEIGHTS)[:-1]),
    "other weights": lambda f: f.write(WEIGHTS, b"x" * len(f.read(WEIGHTS))),
    "no weights": lambda f: f.remove(WEIGHTS),
    "truncated history": lambda f: f.write("history.parquet", f.read("history.parquet")[:-4]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_finished_replicate_that_is_damaged_is_trained_again(
    damage: str, make: MakeCondition, ran: Ran, same_result: Any
) -> None:
    condition = make()
    assert ran(condition) == [("finished", None)]
    whole = trainers.train(condition, report=lambda _payload: None)
    DAMAGE[damage](ran.stored(condition).folder)
    if damage == "other weights":
        # Its size is right: who loads it sees it.
        with pytest.raises(store.CorruptError, match=r"weights\.safetensors is damaged"):
            trainers.load(ran.place, ran.stored(condition).id)
        return
    assert ran(condition) == [("finished", None)]
    (warning,) = ran.warnings
    assert ran.stored(condition).id in warning
    assert warning.endswith(": retrained")
    again = trainers.train(condition, store=ran.place, report=lambda _payload: None)
    same_result(whole, again)


@pytest.mark.parametrize("damage", ["truncated result", "truncated weights", "other weights"])
def test_a_guide_that_is_damaged_is_trained_again(
    damage: str, make: MakeCondition, ran: Ran
) -> None:
    guided = make(control="none", state="trained")
    guide = guided.guide_conditions[0]
    assert guide is not None
    assert ran(guide) == [("finished", None)]
    written = ran.stored(guide).folder.read(WEIGHTS)
    DAMAGE[damage](ran.stored(guide).folder)
    assert ran(guided) == [("finished", None)]
    (warning,) = ran.warnings
    assert ran.stored(guide).id in warning
    assert ran.stored(guide).folder.read(WEIGHTS) == written


CHECKPOINT: dict[str, Callable[[Folder], None]] = {
    "pointer": lambda f: f.write("checkpoint/latest.json", b'{"step": 4'),
    "weights": lambda f: f.write("checkpoint/4.pt", b"no weights"),
    "optimiser": lambda f: f.remove("checkpoint/4.pt"),
    "history": lambda f: f.write("history.parquet", b"PAR1"),
    "starts": lambda f: f.write("starts.json", b"?"),
    "failure": lambda f: f.write("failure.json", b"?"),
}


@pytest.mark.parametrize("damage", CHECKPOINT)
def test_a_damaged_checkpoint_is_begun_anew(
    damage: str, make: MakeCondition, ran: Ran, reports: Any, interruption: type[Exception],
    same_result: Any,
) -> None:  # fmt: skip
    condition = make()
    whole = trainers.train(condition, report=lambda _payload: None)
    with pytest.raises(interruption):
        trainers.train(condition, store=ran.place, report=reports(interrupt_at=4))
    CHECKPOINT[damage](ran.stored(condition).folder)
    assert ran(condition) == [("finished", None)]
    assert len(ran.warnings) == 1
    same_result(whole, trainers.train(condition, store=ran.place, report=lambda _payload: None))


def test_a_full_disk_is_nobodys_failure(make: MakeCondition, ran: Ran) -> None:
    condition = make()
    no_space = pytest.raises(StorageError, match=r"cannot write .*: .*No space left on device")
    with full_disk(after=8), no_space:
        ran(condition)
    assert ran.stored(condition).failure() is None
    assert ran(condition) == [("finished", None)]


def test_what_another_process_is_at_work_on_comes_last(make: MakeCondition, ran: Ran) -> None:
    guided = make(control="none", state="trained")
    guide, baseline = guided.guide_conditions[0], make()
    assert guide is not None

    def hold() -> None:
        with Lease(ran.stored(guide).folder):
            begun.set()
            time.sleep(1.0)

    begun = threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    assert ran(guide, guided, baseline, retry_seconds=0.05) == [("finished", None)] * 3
    thread.join()
    ended = [r.replicate_id for r in ran.reports if isinstance(r, Ended)]
    assert ended == [ran.stored(c).id for c in (baseline, guide, guided)]


def test_provenance_is_noted_with_what_is_trained(make: MakeCondition, ran: Ran) -> None:
    condition = make()
    ran(condition, provenance={"git_commit": "abc"})
    assert ran.stored(condition).provenance() == {"git_commit": "abc"}
    ran(condition, provenance={"git_commit": "def"})
    assert ran.stored(condition).provenance() == {"git_commit": "abc"}
    result = json.loads(ran.stored(condition).folder.read("result.json"))
    assert len(result["data_fingerprint"]) == 16


def test_a_comparison_costs_no_replicate_and_is_not_made_twice(
    make: MakeCondition, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def fails(_store: str, **arguments: Any) -> None:
        tried.append(arguments["target_id"])
        raise SystemExit("of a module of the user's")

    monkeypatch.setattr(comparison, "align", fails)
    first, second = make(), make(target={"width": 9})
    ids = [ran.stored(condition).id for condition in (first, second)]
    comparisons = {i: [{"target_id": i, "guide_id": i}] for i in ids}
    assert ran(first, second, comparisons=comparisons) == [("finished", None)] * 2
    assert tried == ids
    # Whoever died of one would else die again, and never come to the next replicate.
    assert ran(first, second, comparisons=comparisons) == [("finished", None)] * 2
    assert tried == ids
    assert ran(diverging(make), comparisons=comparisons)[0][0] == "failed"
    assert tried == ids


def test_the_networks_of_comparisons_are_dropped_with_the_trial(
    make: MakeCondition, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners: list[weakref.ref[Any]] = []

    def spy(_store: str, *, sides: Any, **_arguments: Any) -> None:
        owners.append(weakref.ref(sides))

    monkeypatch.setattr(comparison, "align", spy)
    trials = ((make(), make(target={"width": 9})), (make(target={"width": 10}),))
    for conditions in trials:
        ids = [ran.stored(condition).id for condition in conditions]
        ran(*conditions, comparisons={i: [{"target_id": i, "guide_id": i}] for i in ids})
        gc.collect()
        assert [owner() for owner in owners] == [None] * len(owners)
    assert owners[0] is owners[1]
    assert owners[1] is not owners[2]


def test_only_those_asked_for_are_scored_where_validation_was_best(
    make: MakeCondition, ran: Ran
) -> None:
    asked, other = make(), make(lr=0.02)
    ran(asked, other, best_validation={ran.stored(asked).id})
    scored = []
    for condition in (asked, other):
        history = ran.stored(condition).history()
        assert history is not None
        scored.append(any(p.metric == "test_at_best/accuracy" for p in history.points))
    assert scored == [True, False]
