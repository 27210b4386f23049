"""Statistics against scipy, published tables and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis import statistics

finite = st.floats(-100, 100).map(lambda value: round(value, 3))
pairs = st.lists(st.tuples(finite, finite), min_size=2, max_size=12)


@given(pairs)
def test_paired_difference_agrees_with_scipy(values):
    first, second = np.array(values).T
    found = statistics.paired_difference(first, second)
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(first - second))
    if len(values) < 3 or len({round(a - b, 6) for a, b in values}) == 1:
        assert found == statistics.PairedDifference(n=len(values), mean=found.mean)
        return
    expected = stats.ttest_rel(first, second)
    interval = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9, abs=1e-300)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert found.standard_error == pytest.approx(stats.sem(first - second), rel=1e-6)


@given(pairs)
def test_exchanging_the_sides_turns_the_sign(values):
    first, second = np.array(values).T
    one = statistics.paired_difference(first, second)
    other = statistics.paired_difference(second, first)
    assert one.mean == -other.mean
    assert one.p_value == other.p_value
    if one.low is not None:
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_nothing_and_one_pair_give_no_interval():
    assert statistics.paired_difference(np.array([]), np.array([])) == statistics.PairedDifference(
        n=0
    )
    one = statistics.paired_difference(np.array([0.75]), np.array([0.5]))
    assert one == statistics.PairedDifference(n=1, mean=0.25)
    assert not one.positive
    assert not one.negative


@pytest.mark.parametrize(
    ("n", "correction"), [(3, 0.5642), (4, 0.7236), (5, 0.7979), (6, 0.8408), (11, 0.9228)]
)
def test_hedges_correction_is_the_published_one(n, correction):
    difference = np.arange(n) + 1.0
    expected = correction * difference.mean() / difference.std(ddof=1)
    found = statistics.paired_difference(difference, np.zeros(n)).effect_size
    assert found == pytest.approx(expected, rel=1e-3)


def test_two_pairs_have_a_mean_alone():
    found = statistics.paired_difference(np.array([1.0, 2.0]), np.zeros(2))
    assert found == statistics.PairedDifference(n=2, mean=1.5)


def test_equal_differences_of_decimal_fractions_have_no_spread():
    first, second = np.array([0.1, 0.3, 0.7, 0.9]), np.array([0.2, 0.4, 0.8, 1.0])
    found = statistics.paired_difference(second, first)
    assert found == statistics.PairedDifference(n=4, mean=found.mean)
    assert not found.positive


@given(st.lists(st.tuples(finite, st.floats(5, 9)), min_size=3, max_size=10))
def test_fieller_limits_are_where_the_t_test_just_rejects(values):
    numerator, denominator = np.array(values).T
    found = statistics.ratio_of_means(numerator, denominator)
    if found.estimate is None:
        spread = np.ptp(denominator) > 1e-12
        assert not spread or stats.ttest_1samp(denominator, 0).confidence_interval(0.95).low <= 0
        return
    assert found.low - 1e-12 <= found.estimate <= found.high + 1e-12
    for limit in (found.low, found.high):
        residual = numerator - limit * denominator
        if residual.std() > 1e-6:
            assert stats.ttest_1samp(residual, 0).pvalue == pytest.approx(0.05, abs=1e-4)


def test_fieller_covers_the_true_ratio_in_95_of_100_studies():
    draw = np.random.default_rng(7)
    true_means, covariance = [0.2, 0.4], [[0.0025, 0.0018], [0.0018, 0.0025]]
    covered = 0
    for _ in range(4000):
        numerator, denominator = draw.multivariate_normal(true_means, covariance, size=6).T
        found = statistics.ratio_of_means(numerator, denominator)
        covered += found.low <= 0.5 <= found.high
    assert 0.94 < covered / 4000 < 0.96


@pytest.mark.parametrize(
    "denominator", [[0.1], [-0.3, -0.31, -0.32], [0.5, -0.5, 0.1], [0.0, 0.0, 0.0]]
)
def test_no_ratio_to_a_gap_that_is_not_established(denominator):
    numerator = np.linspace(0.1, 0.2, len(denominator))
    assert statistics.ratio_of_means(numerator, np.array(denominator)) == statistics.Ratio()


@pytest.mark.parametrize("denominator", [[0.5, 0.5, 0.5], [0.5, 0.51], [0.5]])
def test_no_ratio_to_a_gap_without_an_interval(denominator):
    numerator = np.linspace(0.1, 0.2, len(denominator))
    assert statistics.ratio_of_means(numerator, np.array(denominator)) == statistics.Ratio()


def test_a_numerator_without_spread_has_a_ratio():
    denominator = np.array([0.49, 0.5, 0.51])
    found = statistics.ratio_of_means(np.full(3, 0.25), denominator)
    assert found.estimate == pytest.approx(0.5)
    low, high = stats.ttest_1samp(denominator, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((0.25 / high, 0.25 / low))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_adjustment_is_benjamini_hochberg_by_hand(p_values):
    order = np.argsort(p_values)
    expected, smallest = np.empty(len(p_values)), 1.0
    for rank in range(len(p_values), 0, -1):
        index = order[rank - 1]
        smallest = min(smallest, p_values[index] * len(p_values) / rank)
        expected[index] = smallest
    np.testing.assert_allclose(statistics.adjust(np.array(p_values)), expected, rtol=1e-12)


def test_a_missing_p_value_does_not_count_in_its_family():
    found = statistics.adjust(np.array([0.01, np.nan, 0.04]))
    np.testing.assert_allclose(found, [0.02, np.nan, 0.04])
    assert np.isnan(statistics.adjust(np.array([np.nan]))).all()
