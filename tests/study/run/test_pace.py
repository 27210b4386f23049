"""The pace of a run, from the moments at which its replicates ended."""

from __future__ import annotations

import pytest

from study.run.pace import AtWork, Ended, Pace, per_time, rate


@pytest.mark.parametrize(
    ("a_second", "shown"),
    [
        (1350 / 3600, "22 a minute"),
        (3 / 60, "3 a minute"),
        (2.9 / 60, "174 an hour"),
        (75.7 / 3600, "76 an hour"),
        (2 / 3600, "48 a day"),
        (0.25 / 86400, "0.25 a day"),
    ],
)
def test_a_rate_is_a_whole_number_of_its_unit(a_second: float, shown: str) -> None:
    assert per_time(a_second) == shown


def test_slow_replicates_have_the_rate_of_several() -> None:
    hour = 3600.0
    ends = [hour * index for index in range(1, 6)]
    # The moment of an end and half an hour later.
    assert rate(ends, 0.0, 5 * hour) == pytest.approx(1 / hour)
    assert rate(ends, 0.0, 5.5 * hour) == pytest.approx(5 / 5.5 / hour)
    assert rate([], 0.0, hour) is None


def test_the_rate_of_fast_replicates_is_of_late() -> None:
    slow = [10.0 * index for index in range(1, 61)]
    fast = [600.0 + index for index in range(1, 601)]
    assert rate(slow + fast, 0.0, 1200.0) == pytest.approx(1.0)


def pace(now: float, *, ended: int = 0, at_work: int = 0, share: float = 0.0) -> Pace:
    """A run that began at 0 and trains from 25 on, each replicate for 50 s, two at a time."""
    moments = [75.0 + 50 * (index // 2) for index in range(ended)]
    since = moments[-1] if moments else 25.0
    return Pace(
        since=0.0,
        now=now,
        ended=[Ended(at=at, seconds=50.0) for at in moments],
        at_work=[AtWork(id=str(index), since=since, share=share) for index in range(at_work)],
    )


def test_the_time_left_is_that_of_what_is_left_by_those_at_work() -> None:
    costs = {str(index): 50.0 for index in range(6)}
    found = pace(150.0, ended=4, at_work=2)
    assert found.concurrency == pytest.approx(2)
    assert found.rate == pytest.approx(4 / 125)
    # Four wait, two are half way.
    assert found.seconds_left(costs, []) == pytest.approx((4 * 50 + 2 * 25) / 2)
    assert found.seconds_left(costs, [50.0, 50.0]) == pytest.approx(175)


def test_saved_steps_count_where_an_earlier_run_has_made_them() -> None:
    found = pace(25.0, at_work=1, share=0.8)
    assert found.seconds_left({"0": 50.0}, []) == pytest.approx(10)


def test_the_last_replicate_is_trained_by_one() -> None:
    found = pace(135.0, ended=4, at_work=1)
    assert found.seconds_left({"0": 50.0}, []) == pytest.approx(40)


def test_before_anything_trains_nothing_is_told() -> None:
    found = pace(20.0)
    assert found.rate is None
    assert found.seconds_left({"0": 50.0}, []) is None


def test_an_earlier_run_has_no_part_in_what_a_resumed_replicate_took() -> None:
    found = Pace(since=100.0, now=110.0, ended=[Ended(at=110.0, seconds=60.0)], at_work=[])
    assert found.concurrency == pytest.approx(1)
    assert found.rate == pytest.approx(0.1)
