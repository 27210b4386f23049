"""Notes on data that two studies do not share."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.comparison_data import data_notes


def data(**tasks: dict[int | None, str]) -> Any:
    return {
        task: {seed: frozenset(found.split()) for seed, found in seeds.items()}
        for task, seeds in tasks.items()
    }


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        ({0: "a", 1: "a"}, {0: "a", 1: "a"}, None),
        ({0: "a", 1: "a"}, {0: "b", 1: "b"}, "differ (a in the first, b in the second)"),
        # Without a shared seed, one data set each.
        ({0: "a"}, {1: "a", 2: "a"}, None),
        ({0: "a"}, {1: "b", 2: "b"}, "differ (a in the first, b in the second)"),
        # Each seed has drawn its own.
        ({0: "a", 1: "b"}, {1: "b", 2: "c"}, None),
        ({0: "a", 1: "b"}, {2: "c", 3: "d"}, None),
        ({0: "a", 1: "b"}, {0: "a", 1: "c"}, "differ at 1 of 2 shared seeds"),
        ({0: "a", 1: "b"}, {0: "c", 1: "d"}, "differ at 2 of 2 shared seeds"),
        # Replicates of a seed that were trained before and after a change of the data.
        ({0: "a"}, {0: "a b"}, "differ at 1 of 1 shared seeds"),
        # A pretrained guide, which has no seed.
        ({None: "a"}, {None: "b"}, "differ (a in the first, b in the second)"),
    ],
)
def test_data_that_differ_are_named(
    one: dict[int | None, str], two: dict[int | None, str], said: str | None
) -> None:
    for sides in ((one, two), (two, one)):
        notes = list(data_notes(data(digits=sides[0]), data(digits=sides[1])))
        assert len(notes) == (said is not None)
    notes = list(data_notes(data(digits=one), data(digits=two)))
    if said is not None:
        assert notes == [f"digits: the data {said}: what differs between them may be the data's"]


def test_tasks_of_one_side_alone_are_no_difference() -> None:
    assert not list(data_notes(data(digits={0: "a"}), data(mnist1d={0: "b"})))
    assert not list(data_notes({}, data(digits={0: "a"})))
