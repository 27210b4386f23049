"""Curves of a condition against SciPy's Student t, point by point."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from study.tracking.curves import curves
from trainers.store.tables import Point


def history(values: list[float], start: int, metric: str = "validation/loss") -> list[Point]:
    return [Point(step, start + step, metric, value) for step, value in enumerate(values)]


def by_key(points: list[Point]) -> dict[tuple[str, int], float]:
    found = {(point.metric, point.step): point.value for point in points}
    assert len(found) == len(points)
    return found


def test_mean_and_limits_are_students() -> None:
    values = np.random.default_rng(0).normal(size=(5, 7))
    points = curves([history(list(row), 1000 * i) for i, row in enumerate(values)])
    found = by_key(points)
    assert len(found) == 3 * 7
    for step in range(7):
        column = values[:, step]
        low, high = stats.t.interval(0.95, 4, loc=column.mean(), scale=stats.sem(column))
        assert found["validation/loss", step] == pytest.approx(column.mean(), rel=1e-12)
        assert found["validation/loss/low", step] == pytest.approx(low, rel=1e-12)
        assert found["validation/loss/high", step] == pytest.approx(high, rel=1e-12)
    assert all(point.timestamp == 4000 + point.step for point in points)


@pytest.mark.parametrize("rows", [[[1.0], [2.0]], [[0.5], [0.5], [0.5]]])
def test_there_are_no_limits_of_two_seeds_or_without_spread(rows: list[list[float]]) -> None:
    points = curves([history(row, 0) for row in rows])
    assert [(point.metric, point.value) for point in points] == [
        ("validation/loss", sum(row[0] for row in rows) / len(rows))
    ]


def test_one_replicate_is_its_own_curve() -> None:
    assert curves([history([3.0, 2.0], 10)]) == history([3.0, 2.0], 10)


def test_a_step_counts_where_all_have_it() -> None:
    rows = [[1.0, 2.0, 3.0], [2.0, math.nan, 4.0], [4.0, 5.0]]
    found = by_key(curves([history(row, 0) for row in rows]))
    assert {step for _, step in found} == {0}


def test_pairs_of_taps_have_means_alone() -> None:
    rows = [history([float(i)], 0, "distance/a/b") for i in range(4)]
    assert [point.metric for point in curves(rows)] == ["distance/a/b"]


def test_nothing_of_nothing() -> None:
    assert curves([]) == []
    assert curves([[], history([1.0], 0)]) == []
