"""Signals that ask a run to end: it stops at a checkpoint, says how to go on, and loses nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from study import Study
from study.run.interrupts import Interruption, Interrupts
from tests.faults.conftest import SPEC
from tests.helpers.driver import ROOT, Driver
from trainers.store import pointer
from trainers.store.lease import holder
from trainers.store.store import CorruptError, Store

Drive = Callable[..., Driver]
Until = Callable[..., Any]

#: Trains for minutes, with a checkpoint every second or more often.
LONG = SPEC | {
    "name": "long",
    "train": SPEC["train"] | {"steps": 20_000},
    "guide_train": {"steps": 20_000},
}
#: Has no checkpoint for minutes.
UNCHECKED = LONG | {"train": LONG["train"] | {"report_every": 20_000}}


def saved_steps(store: Path) -> dict[str, int]:
    """The step of every replicate that has a checkpoint."""
    steps = {}
    for identifier in Store(store).known():
        try:
            steps[identifier] = pointer.saved_step(Store(store).replicate(identifier))
        except CorruptError:
            continue
    return {identifier: step for identifier, step in steps.items() if step}


def at_work(store: Path) -> list[str]:
    """Replicates that somebody trains."""
    place = Store(store)
    return [i for i in place.known() if holder(place.replicate(i).folder) is not None]


def litter(store: Path) -> list[str]:
    """What an interrupted run must not leave: failures, leases, its request to stop, tables."""
    names = ("failure.json", "lease.json", "stop-*", "*transfer.parquet", ".*.json.*")
    return [str(path) for name in names for path in store.rglob(name)]


def press(driver: Driver, signum: int, *, group: bool) -> float:
    """Send a signal to the driver, or to all processes of its terminal; seconds until it ended."""
    # The group has the number of its first process.
    (os.killpg if group else os.kill)(driver.process.pid, signum)
    pressed = time.monotonic()
    driver.wait(100)
    return time.monotonic() - pressed


def check_left(driver: Driver, store: Path, status: int, total: int = 8) -> None:
    """A polite end, to the last word."""
    log = driver.log.read_text()
    assert driver.process.returncode == status, log
    assert "Traceback" not in log
    assert "SIGTERM received" not in log
    assert log.count("stopping at the next checkpoint; press Ctrl-C again to end at once") == 1
    last = log.splitlines()[-1]
    begun = saved_steps(store) or list(store.glob("replicates/*/result.json"))
    ways = [(rf"\d+ of {total} replicates are finished", "goes on from the last checkpoints")]
    if not begun:
        # Without a checkpoint it may have begun all the same.
        ways.append((f"nothing is saved yet of {total} replicates", "starts them"))
    shown = "|".join(f"interrupted: {how}; archprior run .* {left}" for how, left in ways)
    assert re.fullmatch(shown, last)
    assert f"--store {store}" in last
    assert "n   unguided" not in log
    assert litter(store) == []


def test_one_ctrl_c_stops_a_local_run_at_a_checkpoint(
    drive: Drive, until: Until, tmp_path: Path
) -> None:
    """And the good tables that the store held before are left as they are."""
    store = tmp_path / "store"
    small = LONG | {"train": {"steps": 4, "batch_size": 50}, "guide_train": {}}
    assert Study(**small).run(store=store, local=True).complete
    folder = store / "studies" / LONG["name"]
    tables = [path for path in folder.glob("*.parquet") if path.name != "plan.parquet"]
    before = [path.read_bytes() for path in tables]
    assert "transfer.parquet" in {path.name for path in tables}
    driver = drive("run", LONG, "--local")
    until(lambda: saved_steps(store) and at_work(store))
    assert press(driver, signal.SIGINT, group=True) < 30
    assert [path.read_bytes() for path in tables] == before
    for path in store.rglob("*transfer.parquet"):
        path.unlink()
    check_left(driver, store, 130)
    assert driver.log.read_text().splitlines()[-1].count("--local") == 1
    assert saved_steps(store)


@pytest.mark.parametrize(
    ("signum", "group"),
    [
        (signal.SIGINT, True),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                (signal.SIGINT, False),
                (signal.SIGTERM, True),
                (signal.SIGTERM, False),
                (signal.SIGHUP, True),
            ]
        ),
    ],
)
def test_one_signal_stops_a_run_under_ray_at_checkpoints(
    drive: Drive, until: Until, tmp_path: Path, signum: int, group: bool
) -> None:
    store = tmp_path / "store"
    driver = drive("run", LONG)
    until(lambda: saved_steps(store) and at_work(store))
    before = saved_steps(store)
    driver.below()
    assert press(driver, signum, group=group) < 40
    check_left(driver, store, 128 + signum)
    after = saved_steps(store)
    assert all(after[identifier] >= step for identifier, step in before.items())


@pytest.mark.slow
def test_two_workers_of_a_trial_stop_together(drive: Drive, until: Until, tmp_path: Path) -> None:
    store = tmp_path / "store"
    half = {"workers": 2, "cpus_per_worker": (os.cpu_count() or 1) / 2}
    driver = drive("run", LONG | {"resources": half})
    until(lambda: saved_steps(store) and at_work(store))
    assert press(driver, signal.SIGINT, group=True) < 40
    check_left(driver, store, 130)


@pytest.mark.slow
@pytest.mark.parametrize("how", [["--local"], []])
def test_an_interrupted_run_goes_on_to_the_same_tables(
    drive: Drive, until: Until, tmp_path: Path, check_same: Callable[[Path], None], how: list[str]
) -> None:
    store = tmp_path / "store"
    driver = drive("run", SPEC, *how)
    until(lambda: saved_steps(store))
    press(driver, signal.SIGINT, group=False)
    check_left(driver, store, 130)
    again = drive("run", SPEC, *how)
    assert again.wait() == 0, again.log.read_text()
    check_same(store)


def test_the_second_ctrl_c_ends_at_once(drive: Drive, until: Until, tmp_path: Path) -> None:
    driver = drive("run", UNCHECKED, "--local")
    until(lambda: at_work(tmp_path / "store"))
    os.kill(driver.process.pid, signal.SIGINT)
    until(lambda: "press Ctrl-C again" in driver.log.read_text())
    assert press(driver, signal.SIGINT, group=True) < 3
    assert driver.process.returncode == 130
    assert "Traceback" not in driver.log.read_text()


@pytest.mark.parametrize("how", ["--local", pytest.param(None, marks=pytest.mark.slow)])
def test_training_without_checkpoints_is_ended_after_a_while(
    drive: Drive, until: Until, tmp_path: Path, how: str | None
) -> None:
    store = tmp_path / "store"
    driver = drive("run", UNCHECKED, "--grace", "2", *([how] if how else []))
    until(lambda: at_work(store))
    assert 2 < press(driver, signal.SIGTERM, group=True) < 30
    log = driver.log.read_text()
    assert driver.process.returncode == 143, log
    assert "Traceback" not in log
    assert re.search("interrupted: (0|nothing is saved yet) of 8 replicates.*; archprior run", log)
    assert "--grace 2" in log
    assert not list(store.rglob("failure.json"))
    # A worker's lease goes with its process.
    assert at_work(store) == []


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("8 to train", ["--local"]),
        pytest.param("8 to train", [], marks=pytest.mark.slow),
        pytest.param("training 8 replicates in", [], marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_before_anything_is_trained(
    drive: Drive, until: Until, tmp_path: Path, text: str, how: list[str]
) -> None:
    driver = drive("run", LONG, *how)
    until(lambda: text in driver.log.read_text())
    press(driver, signal.SIGINT, group=True)
    check_left(driver, tmp_path / "store", 130)
    # MLflow's data base is whole: another study finds all that it needs.
    small = SPEC | {"seeds": 1, "train": {"steps": 2, "batch_size": 50}, "guide_train": {}}
    assert Study(**small).run(store=tmp_path / "store", local=True).complete


#: What the script `archprior` does; before its first line the interpreter itself ends at once.
SCRIPT = "from study.__main__ import main; print('begun', flush=True); main()"


@pytest.mark.parametrize("moment", [0.0, 0.2, 0.5, 1.0])
def test_ctrl_c_in_a_command_that_starts_nothing(moment: float, tmp_path: Path) -> None:
    """Mostly in its imports, which do not all let a KeyboardInterrupt through."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "plan", "quickstart", "--measure", "--store", tmp_path],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    time.sleep(moment)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=300)
    assert (process.returncode, "Traceback" in said) == (130, False), said


def test_in_a_program_ctrl_c_stays_a_keyboard_interrupt(tmp_path: Path, until: Until) -> None:
    before = signal.getsignal(signal.SIGINT)

    def press_when_training() -> None:
        until(lambda: saved_steps(tmp_path))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press_when_training)
    thread.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        Study(**LONG).run(store=tmp_path, local=True)
    thread.join()
    assert not isinstance(caught.value, Interruption)
    assert signal.getsignal(signal.SIGINT) is before
    assert litter(tmp_path) == []


@pytest.mark.parametrize("grace", [0, 0.2])
def test_the_time_of_grace_is_that_which_is_given(grace: float) -> None:
    interrupts = Interrupts(grace)
    with interrupts, interrupts.polite(), interrupts.hasty():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interruption):
            time.sleep(5)
    assert interrupts.late


class SlowToGo:
    """An object that is in the middle of its finaliser for a quarter of a second."""

    def __del__(self) -> None:
        time.sleep(0.25)


def go_slowly_and_sleep() -> None:
    slow = SlowToGo()
    del slow
    time.sleep(5)


@pytest.mark.parametrize("grace", [None, 0.1])
def test_an_interruption_inside_a_finaliser_is_not_lost(
    capfd: pytest.CaptureFixture[str], grace: float | None
) -> None:
    interrupts = Interrupts(grace or 60)
    with interrupts, ExitStack() as inside:
        if grace is not None:
            inside.enter_context(interrupts.polite())
            inside.enter_context(interrupts.hasty())
        press = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGTERM))
        press.start()
        with pytest.raises(Interruption):
            go_slowly_and_sleep()
        press.join()
    assert "Traceback" not in "".join(capfd.readouterr())


def test_other_errors_of_finalisers_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __del__(self) -> None:
            raise OSError("of a finaliser")

    shown: list[BaseException | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda error: shown.append(error.exc_value))
    before = sys.unraisablehook
    with Interrupts():
        broken = Broken()
        del broken
    assert [str(error) for error in shown] == ["of a finaliser"]
    assert sys.unraisablehook is before


def test_handlers_are_put_back_and_ignored_signals_stay_ignored() -> None:
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            assert signal.getsignal(signal.SIGTERM) is not before[signal.SIGTERM]
            signal.raise_signal(signal.SIGHUP)
            assert not interrupts.requested
            with pytest.raises(Interruption), interrupts.held():
                signal.raise_signal(signal.SIGTERM)
            assert interrupts.status == 143
            # Of the signals that a service manager sends at the same time, one counts.
            signal.raise_signal(signal.SIGTERM)
        assert {signum: signal.getsignal(signum) for signum in before} == before
    finally:
        signal.signal(signal.SIGHUP, hangup)
