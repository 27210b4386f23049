"""Batches of points."""

from __future__ import annotations

import math
from typing import Any

import pytest

from study.search import sampler
from study.search.points import Point
from study.spec.search import Search

RANGES: dict[str, Any] = {
    "train.lr": {"low": 1e-4, "high": 1.0, "log": True},
    "targets.depth": {"low": 1, "high": 9},
    "targets.norm": ["none", "batch"],
    "schedule.stop_step": [None, 100],
}
Told = list[tuple[Point, float]]


def search(
    budget: int = 40, space: Any = RANGES, seeds: Any = (100, 101), batch: int = 4
) -> Search:
    return Search(
        budget=budget, space=space, seeds=seeds, select="validation/accuracy", batch=batch
    )


def whole(wanted: Search, result: Any, *, higher_is_better: bool = True) -> Told:
    """All trials, with the result that a function gives each point."""
    told: Told = []
    while len(told) < wanted.budget:
        asked = sampler.batch(wanted, wanted.space, told, higher_is_better=higher_is_better)
        told += [(point, result(point)) for point in asked]
    return told


def off(point: Point) -> float:
    return abs(math.log10(float(point["train.lr"] or 0) / 0.01))


def test_a_batch_is_a_function_of_the_results_before() -> None:
    first = whole(search(), off, higher_is_better=False)
    assert whole(search(), off, higher_is_better=False) == first
    for start in (0, 4, 20, 36):
        again = sampler.batch(search(), search().space, first[:start], higher_is_better=False)
        assert again == [point for point, _ in first[start : start + 4]]


def test_other_tuning_seeds_and_other_results_give_other_points() -> None:
    first = whole(search(), off, higher_is_better=False)
    assert whole(search(seeds=[100]), off, higher_is_better=False)[:4] != first[:4]
    changed = [*first[:19], (first[19][0], 0.0)]
    told = [point for point, _ in first[20:24]]
    assert sampler.batch(search(), search().space, changed, higher_is_better=False) != told


def test_points_are_in_the_space_and_rounded() -> None:
    for point, _ in whole(search(), off, higher_is_better=False):
        assert list(point) == list(RANGES)
        rate = point["train.lr"]
        assert isinstance(rate, float)
        assert 1e-4 <= rate <= 1
        assert rate == float(f"{rate:.6g}")
        assert point["targets.depth"] in range(1, 10)
        assert point["targets.norm"] in ("none", "batch")
        assert point["schedule.stop_step"] in (None, 100)


@pytest.mark.parametrize("higher", [True, False])
def test_it_searches_in_the_direction_of_the_metric(higher: bool) -> None:
    sign = -1 if higher else 1
    told = whole(search(), lambda point: sign * off(point), higher_is_better=higher)
    distances = [off(point) for point, _ in told]
    assert sum(distances[20:]) < sum(distances[:10]) * 2 * 0.7


def test_arms_that_share_keys_try_the_same_values_of_them_while_they_are_random() -> None:
    wanted = search(budget=16)
    part = {key: wanted.space[key] for key in ("targets.norm", "train.lr")}
    for start in (0, 4, 8):
        told = [(dict.fromkeys(RANGES), float(n)) for n in range(start)]
        both = [
            sampler.batch(wanted, space, told, higher_is_better=True)
            for space in (wanted.space, part)
        ]
        whole_space, shared = both
        assert [{key: point[key] for key in part} for point in whole_space] == shared
    trials = whole(wanted, lambda _: 0.0)
    assert len({point["train.lr"] for point, _ in trials[:12]}) == 12
    assert len({(p["targets.norm"], p["schedule.stop_step"]) for p, _ in trials[:12]}) > 2


@pytest.mark.parametrize("count", [1, 6])
def test_given_points_come_first_and_the_other_draws_stay(count: int) -> None:
    given = [
        {
            "train.lr": 10.0**-k, "targets.depth": k + 1, "targets.norm": "none",
            "schedule.stop_step": None,
        }
        for k in range(count)
    ]  # fmt: skip
    wanted = search(budget=8).model_copy(update={"points_to_evaluate": tuple(given)})
    points = [point for point, _ in whole(wanted, off)]
    assert points[:count] == given
    assert points[count:] == [point for point, _ in whole(search(budget=8), off)][count:]
    own = {key: RANGES[key] for key in ("train.lr", "targets.depth")}
    first = sampler.batch(wanted, search(space=own).space, [], higher_is_better=True)[0]
    assert first == {"train.lr": 1.0, "targets.depth": 1}


def test_a_failed_point_is_the_worst_and_not_forgotten() -> None:
    """Points above a rate fail: the search keeps away from them, and from the bad ones too."""

    def failing(point: Point) -> float:
        return math.nan if float(point["train.lr"] or 0) > 0.01 else 1.0

    told = whole(search(), failing)
    assert len(told) == 40
    failed = [math.isnan(value) for _, value in told]
    assert sum(failed[20:]) < sum(failed[:10]) * 2


def test_a_small_space_is_tried_whole_then_again() -> None:
    space = {"train.lr": [1, 2, 3], "targets.depth": {"low": 1, "high": 2}}
    told = whole(search(budget=8, space=space), lambda _: 0.0)
    points = [tuple(point.values()) for point, _ in told]
    assert sorted(points[:6]) == [(r, d) for r in (1, 2, 3) for d in (1, 2)]
    assert points[6:] == points[:2]


def test_the_last_batch_ends_with_the_budget() -> None:
    told: Told = [({"train.lr": 0.1 * n}, 0.0) for n in range(1, 5)]
    wanted = search(budget=6, space={"train.lr": {"low": 0.0, "high": 1.0}})
    assert len(sampler.batch(wanted, wanted.space, told, higher_is_better=True)) == 2


def test_an_arm_without_keys_has_one_point() -> None:
    wanted = search(budget=3, space={"schedule.alpha": [1, 2]})
    assert sampler.batch(wanted, wanted.space_of(0), [], higher_is_better=True) == [{}, {}, {}]
