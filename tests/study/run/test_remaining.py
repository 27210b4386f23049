"""What a person sees of a run: how long the rest will take."""

from __future__ import annotations

import pytest

from study.run import remaining
from study.run.remaining import Remaining


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
