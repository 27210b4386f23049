"""The time left of a run: what it says of simulated runs, whose end is known."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.run.remaining import Remaining


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_before_any_report_it_is_what_was_expected(clock: Clock) -> None:
    rest = Remaining(trials=[["a", "b"]], costs={"a": 10.0, "b": 30.0}, now=clock, start_seconds=20)
    assert rest.seconds() == pytest.approx(60)
    clock.now += 15
    assert rest.seconds() == pytest.approx(45)
    clock.now += 15
    # It takes longer to start than was thought.
    assert rest.seconds() == pytest.approx(40)


def test_the_rest_goes_on_as_what_was_trained(clock: Clock) -> None:
    rest = Remaining(trials=[["short", "long"]], costs={"short": 1.0, "long": 3.0}, now=clock)
    clock.now += 40
    rest.trained("short", 0.0)
    clock.now += 100
    rest.trained("short", 1.0)
    rest.ended("short")
    # A hundred times slower than was thought, but for a little doubt; the start does not count.
    assert rest.seconds() == pytest.approx(3 * 100, rel=0.2)
    clock.now += 150
    assert rest.seconds() == pytest.approx(3 * 100 - 150, rel=0.4)
    clock.now += 150
    rest.trained("long", 0.0)
    rest.trained("long", 1.0)
    rest.ended("long")
    assert rest.seconds() == 0


def test_shares_of_an_earlier_run_and_failures_are_no_pace(clock: Clock) -> None:
    names = ["resumed", "failed", "last"]
    rest = Remaining(trials=[names], costs=dict.fromkeys(names, 100.0), now=clock)
    rest.trained("resumed", 0.5)
    clock.now += 50
    rest.trained("resumed", 1.0)
    rest.ended("resumed")
    rest.ended("failed")
    assert rest.seconds() == pytest.approx(100, rel=0.05)
    rest.ended("of another study")
    rest.trained("of another study", 0.5)
    assert rest.seconds() == pytest.approx(100, rel=0.05)


def test_replicates_that_are_alike_cost_the_same(clock: Clock) -> None:
    names = [f"{kind}{seed}" for seed in range(4) for kind in "ab"]
    rest = Remaining(
        trials=[names], costs=dict.fromkeys(names, 10.0), alike={n: n[0] for n in names}, now=clock
    )
    for name, seconds in (("a0", 2.0), ("b0", 40.0), ("a1", 2.0), ("b1", 40.0), ("a2", 2.0)):
        rest.trained(name, 0.0)
        clock.now += seconds
        rest.trained(name, 1.0)
        rest.ended(name)
    # One of a and two of b are left.
    assert rest.seconds() == pytest.approx(2 + 2 * 40, rel=0.2)


def test_trials_wait_for_slots(clock: Clock) -> None:
    names = "abcde"
    rest = Remaining(
        trials=[[name] for name in names], costs=dict.fromkeys(names, 10.0), slots=2,
        start_seconds=0.0, now=clock,
    )  # fmt: skip
    assert rest.seconds() == pytest.approx(30)
    rest = Remaining(
        trials=[[name] for name in names], costs=dict.fromkeys(names, 10.0), slots=2,
        start_seconds=5.0, now=clock,
    )  # fmt: skip
    assert rest.seconds() == pytest.approx(45)


def test_nothing_to_train_takes_no_time(clock: Clock) -> None:
    assert Remaining(trials=[], costs={}, now=clock).seconds() == 0


@dataclass(order=True)
class Report:
    """A report of a simulated run: share 1 at the end of a replicate."""

    time: float
    name: str = field(compare=False)
    share: float = field(compare=False)


def simulated(
    trials: list[list[str]], seconds: dict[str, float], *, slots: int, start: float, every: int
) -> Iterator[Report]:
    """Reports of a run in time: each slot takes the next trial when it is free."""
    free, reports = [0.0] * slots, []
    for trial in trials:
        now = heapq.heappop(free) + start
        for name in trial:
            reports += [
                Report(now + seconds[name] * part / every, name, part / every)
                for part in range(every + 1)
            ]
            now += seconds[name]
        heapq.heappush(free, now)
    yield from sorted(reports)


factors = st.floats(0.1, 10.0)


@pytest.mark.processes
@given(
    factor=factors,
    kinds=st.lists(st.floats(0.4, 2.5), min_size=1, max_size=4),
    slots=st.integers(1, 3),
    num_trials=st.integers(1, 6),
    start=st.floats(0, 40),
    every=st.integers(1, 10),
)
@settings(max_examples=200, deadline=None)
def test_a_simulated_run_ends_about_when_it_is_said_to(
    factor, kinds, slots, num_trials, start, every
) -> None:
    """First guesses are off by up to 10, and by up to 2.5 more between kinds of replicates."""
    names = [f"{seed}-{kind}" for seed in range(12) for kind in range(len(kinds))]
    # Kinds are in no order: what was not seen yet cannot be known.
    random.Random(0).shuffle(names)
    trials = [names[number::num_trials] for number in range(num_trials)]
    trials = [trial for trial in trials if trial]
    costs = dict.fromkeys(names, 100.0)
    seconds = {name: 100.0 * factor * kinds[int(name[-1])] for name in names}
    clock = Clock()
    rest = Remaining(
        trials=trials, costs=costs, alike={n: n[-1] for n in names}, slots=slots, now=clock
    )
    reports = list(simulated(trials, seconds, slots=slots, start=start, every=every))
    end = reports[-1].time
    for report in reports:
        clock.now = 1000.0 + report.time
        rest.trained(report.name, report.share)
        if report.share == 1:
            rest.ended(report.name)
        left = end - report.time
        if report.time - start > 0.4 * (end - start) and left > 0.1 * end:
            assert left / 1.6 < rest.seconds() < left * 1.6
    assert rest.seconds() == pytest.approx(0, abs=1e-6)
