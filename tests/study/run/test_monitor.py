"""What a person sees of a run: how long the rest will take."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from analysis.contract import Status
from study.plan.cost import Estimate
from study.plan.packing import Trial
from study.plan.progress import Progress
from study.plan.replicates import Replicate
from study.plan.states import State
from study.run import monitor
from study.run.interrupts import STOPPING, Interrupts
from trainers.messages import Aborted, Ended, Measured
from trainers.store.store import Store


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(monitor.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def progress(trained: Any, tmp_path: Path) -> Progress:
    """A study of which nothing is in the store."""
    return Progress(trained.plan, Store(tmp_path))


def trials_of(progress: Progress, number: int) -> list[Trial]:
    todo = progress.todo
    return [Trial(tuple(todo[at::number]), 0.0) for at in range(number)]


def estimate_of(progress: Progress) -> Estimate:
    return Estimate(dict.fromkeys(progress.states, 10.0), 0.0)


def report_steps(
    shown: monitor.Monitor, clock: list[float], replicate: Replicate, seconds: float
) -> None:
    for step in (0, replicate.num_steps):
        shown.report(Measured(replicate_id=replicate.id, step=step, metrics={}, timestamp=0))
        clock[0] += seconds * (step == 0)


def finish(progress: Progress, shown: monitor.Monitor, replicate: Replicate) -> None:
    progress.states[replicate.id] = State(Status.finished)
    progress.refresh = lambda name: progress.states[name]  # type: ignore[method-assign]
    shown.report(Ended(replicate_id=replicate.id, status="finished"))


def test_lines_say_what_was_done_and_how_long_the_rest_takes(
    progress: Progress, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = monitor.Monitor(progress, live=False, line_seconds=0.0)
    shown.begin(estimate_of(progress), trials_of(progress, 2), slots=2)
    first, second = progress.todo[0], progress.todo[2]
    clock[0] += 25
    for replicate in (first, second):
        report_steps(shown, clock, replicate, 20)
        finish(progress, shown, replicate)
    began, *lines = capsys.readouterr().out.splitlines()
    # Six replicates a trial of 10 s and what each costs beyond, after the start of both.
    assert began == "training 12 replicates in 2 trials, perhaps 94 s"
    assert lines[0].startswith("25 s: 0 of 12 finished, about ")
    assert lines[-1].startswith("65 s: 2 of 12 finished, 3 a minute, about ")
    # The trial that was not heard of has six replicates of 20 s each before it.
    (left,) = re.findall(r"about (\d+) s left", lines[-1].replace("2 min", "120 s"))
    assert int(left) == pytest.approx(120, rel=0.2)


def test_failures_are_counted_and_said_once(
    progress: Progress, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = monitor.Monitor(progress, live=False, line_seconds=0.0)
    shown.begin(estimate_of(progress), trials_of(progress, 1))
    replicate = progress.todo[0]
    progress.states[replicate.id] = State(Status.failed, "NaN loss")
    for _ in range(2):
        shown.report(Ended(replicate_id=replicate.id, status="failed", error="NaN loss"))
    lines = capsys.readouterr().out.splitlines()[1:]
    assert sum("NaN loss" in line for line in lines) == 1
    assert all("0 of 12 finished, 1 failed" in line for line in lines if "finished" in line)


@pytest.mark.parametrize(
    ("trace", "shown_of_it"), [("", "full: 3 kB"), ("line 1\nline 2", "line 2")]
)
def test_an_error_of_a_trial_has_a_traceback_where_the_program_made_it(
    progress: Progress, capsys: pytest.CaptureFixture[str], trace: str, shown_of_it: str
) -> None:
    shown = monitor.Monitor(progress, live=False)
    shown.report(Aborted(error="StorageError: full: 3 kB", traceback=trace))
    said = capsys.readouterr().out
    assert said.startswith("error in a trial: ")
    assert said.rstrip().endswith(shown_of_it)


def test_plain_output_gets_a_line_now_and_then(
    progress: Progress, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = monitor.Monitor(progress, live=False, line_seconds=15.0)
    shown.begin(estimate_of(progress), trials_of(progress, 1))
    for step in range(60):
        clock[0] += 1
        first = progress.todo[0].id
        shown.report(Measured(replicate_id=first, step=step, metrics={}, timestamp=0))
    assert len(capsys.readouterr().out.splitlines()) == 1 + 4


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("COLUMNS", 80), ("TTY_COMPATIBLE", 1), ("NO_COLOR", 1)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_bar_fits_the_terminal(
    progress: Progress,
    clock: list[float],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    columns: int,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = monitor.Monitor(progress)
    shown.start()
    shown.begin(estimate_of(progress), trials_of(progress, 2), slots=2)
    report_steps(shown, clock, progress.todo[0], 20)
    finish(progress, shown, progress.todo[0])
    clock[0] += 300
    bar, now = drawn(capsys)
    assert "1/12" in bar
    assert re.search(r"[0-9]+ (a minute|an hour)", bar)
    assert re.search(r"about \d+ (s|min) left", bar)
    assert now.startswith("training ")
    assert max(len(bar), len(now)) <= columns
    shown.stop()


@pytest.mark.usefixtures("terminal")
def test_the_bar_of_a_run_that_is_over_leaves_nothing(
    progress: Progress, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = monitor.Monitor(progress)
    shown.start()
    shown.begin(estimate_of(progress), trials_of(progress, 1))
    for replicate in progress.todo:
        report_steps(shown, clock, replicate, 10)
        finish(progress, shown, replicate)
    bar, now = drawn(capsys)
    assert "left" not in bar
    assert now == "comparing networks, filling MLflow"
    clock[0] += 60
    shown.stop()
    *_, bar = plain(capsys.readouterr().out)
    assert re.search(r"12/12 [0-9:]+$", bar)


@pytest.mark.usefixtures("terminal")
def test_the_bar_acknowledges_a_signal(
    progress: Progress, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Interrupts() as interrupts:
        shown = monitor.Monitor(progress, interrupts=interrupts)
        shown.start()
        shown.begin(estimate_of(progress), trials_of(progress, 1))
        report_steps(shown, clock, progress.todo[0], 20)
        with interrupts.polite(shown=shown.live):
            os.kill(os.getpid(), signal.SIGINT)
        report_steps(shown, clock, progress.todo[1], 20)
        bar, now = drawn(capsys)
        assert "0/12" in bar
        assert now == STOPPING
        shown.stop()
    assert plain(capsys.readouterr().out)[-1].startswith(bar[:20])


def drawn(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The bar and the line below it, as they are drawn next: ten times a second."""
    capsys.readouterr()
    text = ""
    while "\n" not in text:
        time.sleep(0.15)
        text += capsys.readouterr().out
    return plain(text)[-2:]


def plain(text: str) -> list[str]:
    """Lines of a terminal's output without its sequences; a line that was redrawn, each time."""
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).replace("\r", "\n")
    return [line.rstrip() for line in shown.splitlines() if line.strip()]
