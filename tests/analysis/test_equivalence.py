"""Equivalence against scipy's one-sided t tests and its 90% interval."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.equivalence import Equivalence, equivalence
from analysis.statistics import PairedDifference, paired_difference

values = st.lists(st.floats(-1, 1).map(lambda value: round(value, 3)), min_size=3, max_size=12)


def found_of(differences, margin):
    given_values = np.array(differences)
    return equivalence(paired_difference(given_values, np.zeros(len(given_values))), margin)


@given(values, st.floats(0.01, 1))
def test_both_tests_agree_with_scipy(differences, margin):
    found = found_of(differences, margin)
    if len(set(differences)) == 1:
        assert found == Equivalence()
        return
    above = stats.ttest_1samp(differences, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(differences, margin, alternative="less").pvalue
    assert found.p_value == pytest.approx(max(above, below), rel=1e-9, abs=1e-300)
    assert found.p_no_more == pytest.approx(below, rel=1e-9, abs=1e-300)


@given(values, st.floats(0.01, 1))
def test_equivalent_where_the_90_percent_interval_lies_inside(differences, margin):
    found = found_of(differences, margin)
    if len(set(differences)) == 1:
        assert not found.equivalent
        return
    low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.9)
    assert found.equivalent == (-margin < low and high < margin)
    assert found.no_more == (high < margin)


def test_no_more_is_one_sided():
    found = found_of([-0.30, -0.31, -0.29, -0.30], 0.1)
    assert found.no_more
    assert not found.equivalent


@pytest.mark.parametrize("differences", [[0.0, 0.01], [0.01], [], [0.0, 0.0, 0.0, 0.0]])
def test_without_an_interval_nothing_is_equivalent(differences):
    assert found_of(differences, 10.0) == Equivalence()


def test_without_a_margin_nothing_is_tested():
    assert found_of([0.0, 0.001, -0.001], None) == Equivalence()
    assert equivalence(PairedDifference(n=0), 1.0) == Equivalence()


def test_at_the_margin_a_twentieth_is_called_equivalent():
    draw = np.random.default_rng(5)
    differences = draw.normal(0.01, 0.002, (4000, 6))
    found = [found_of(each, 0.01).equivalent for each in differences]
    assert 0.04 < np.mean(found) < 0.06
