"""What a person sees of a run: how long the rest will take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from study.plan.cost import Estimate
from study.plan.progress import Progress
from study.run import monitor, remaining
from study.run.remaining import Remaining
from trainers.messages import Ended, Measured
from trainers.store.store import Store


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(remaining.time, "monotonic", lambda: now[0])
    return now


def test_the_rest_goes_on_as_what_was_trained(clock: list[float]) -> None:
    rest = Remaining({"short": 1.0, "long": 3.0})
    assert rest.seconds() is None
    rest.trained("short", 0.0)
    clock[0] += 10
    rest.trained("short", 0.5)
    assert rest.seconds() == pytest.approx(10 * 3.5 / 0.5)
    rest.trained("short", 1.0)
    rest.ended("short")
    assert rest.seconds() == pytest.approx(10 * 3)
    clock[0] += 20
    rest.trained("long", 0.0)
    rest.trained("long", 1.0)
    rest.ended("long")
    assert rest.seconds() == pytest.approx(0)


def test_what_was_trained_before_this_run_or_never_is_not_counted(clock: list[float]) -> None:
    rest = Remaining({"resumed": 1.0, "failed": 1.0, "elsewhere": 1.0, "last": 1.0})
    clock[0] += 10
    rest.trained("resumed", 0.5)
    assert rest.seconds() is None
    rest.trained("resumed", 0.75)
    rest.ended("failed")
    rest.ended("elsewhere")
    assert rest.seconds() == pytest.approx(10 * 1.25 / 0.25)
    rest.ended("of another study")
    assert rest.seconds() == pytest.approx(10 * 1.25 / 0.25)


def test_a_line_says_how_long_the_rest_will_take(
    trained: Any,
    clock: list[float],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = Progress(trained.plan, Store(tmp_path))
    first, *_ = progress.todo
    costs = dict.fromkeys(progress.states, 1.0)
    shown = monitor.Monitor(progress, live=False, line_seconds=0.0)
    shown.begin(Estimate(costs, 0.0), 2)
    for step in (0, first.num_steps):
        shown.report(Measured(replicate_id=first.id, step=step, metrics={}, timestamp=0))
        clock[0] += 10
    shown.report(Ended(replicate_id=first.id, status="finished"))
    began, *lines = capsys.readouterr().out.splitlines()
    assert began == "training 12 replicates in 2 trials"
    assert "0 of 12 finished, at " in lines[0]
    # As much as 11 times what took 10 s, and then 20 s.
    assert "0 of 12 finished, about 2 min left, at " in lines[1]
    assert "about 4 min left" in lines[2]
