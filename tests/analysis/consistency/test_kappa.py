"""Kappa against numbers worked by hand, scikit-learn, known simulations and brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from analysis.consistency.kappa import bounds, expected, kappa, kappa_at_matched_accuracy, observed


def shares(first, second):
    """Accuracies and the share right in both, of two correctness vectors (N,)."""
    return np.float64(first.mean()), np.float64(second.mean()), np.float64((first & second).mean())


def copies(rng, n, accuracy, copied):
    """Two vectors (n,) of one accuracy; the second copies the first with a probability.

    Their kappa is that probability (Klein et al. 2025, the copy model).
    """
    first, own = rng.random((2, n)) < accuracy
    return first, np.where(rng.random(n) < copied, first, own)


#: Numbers of answers that both give right, the first alone, the second alone, and neither; then by
#: hand from Geirhos et al. 2020: observed (alike over all), expected (ab + (1 - a)(1 - b)), kappa
#: ((o - e) / (1 - e)), and kappa at the least and the greatest o (|a + b - 1| and 1 - |a - b|).
BY_HAND = {
    # a = .8, b = .6, of 10: o = 6/10, e = .48 + .08; o may be .4 to .8.
    "alike in part": ((5, 3, 1, 1), 0.6, 0.56, 1 / 11, -4 / 11, 6 / 11),
    # a = b = .95, of 100: e = .9025 + .0025; o may be .9 to 1, and is as high without agreement.
    "accurate": ((91, 4, 4, 1), 0.92, 0.905, 3 / 19, -1 / 19, 1.0),
    # a = .75, b = .5, of 20: fewer errors in common than by chance.
    "apart": ((6, 9, 4, 1), 0.35, 0.5, -0.3, -0.5, 0.5),
    # a = .5, b = .4, of 10: as many as by chance; o may be .1 to .9.
    "independent": ((2, 3, 2, 3), 0.5, 0.5, 0.0, -0.8, 0.8),
    "equal": ((7, 0, 0, 3), 1.0, 0.58, 1.0, -3 / 7, 1.0),
    "opposite": ((0, 5, 5, 0), 0.0, 0.5, -1.0, -1.0, 1.0),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_numbers_worked_by_hand(case):
    counts, *numbers = BY_HAND[case]
    first = np.repeat([True, True, False, False], counts)
    second = np.repeat([True, False, True, False], counts)
    a, b, both = shares(first, second)
    found = observed(a, b, both), expected(a, b), kappa(a, b, both), *bounds(a, b)
    assert found == pytest.approx(numbers, abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_kappa_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    first, second = copies(rng, 150, *rng.uniform(0.1, 0.9, 2))
    found = kappa(*shares(first, second))
    assert found == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
    a, b, both = shares(first, second)
    assert observed(a, b, both) == pytest.approx((first == second).mean())
    assert expected(a, b) == pytest.approx(a * b + (1 - a) * (1 - b))


@pytest.mark.parametrize("copied", [0.0, 0.3, 0.8])
def test_kappa_of_copied_answers_is_the_share_copied(copied):
    found = kappa(*shares(*copies(np.random.default_rng(1), 200_000, 0.8, copied)))
    assert found == pytest.approx(copied, abs=0.01)


def test_bounds_are_reached_and_never_passed():
    """All ways to place b right answers beside a right ones, of 6 examples."""
    n = 6
    for a, b in itertools.product(range(1, n), repeat=2):
        first = np.arange(n) < a
        values = []
        for chosen in itertools.combinations(range(n), b):
            second = np.isin(np.arange(n), chosen)
            values.append(float(kappa(*shares(first, second))))
        low, high = bounds(np.float64(a / n), np.float64(b / n))
        assert (low, high) == pytest.approx((min(values), max(values)), abs=1e-12)


@pytest.mark.parametrize(("first", "second"), [(1, 0.5), (0.5, 1), (1, 1), (0, 0.5), (0, 0)])
def test_a_side_that_does_not_vary_has_no_kappa(first, second):
    first, second = np.float64(first), np.float64(second)
    both = np.minimum(first, second)
    assert np.isnan(kappa(first, second, both))
    assert np.isnan(bounds(first, second)).all()
    assert np.isnan(kappa_at_matched_accuracy(first, second, both))


def matched_by_drawing(first, second, draws, rng):
    better, worse = (first, second) if first.mean() >= second.mean() else (second, first)
    right = np.flatnonzero(better)
    values = []
    for _ in range(draws):
        lowered = better.copy()
        turned = rng.choice(right, better.sum() - worse.sum(), replace=False)
        lowered[turned] = False
        values.append(float(kappa(*shares(lowered, worse))))
    return np.array(values)


@pytest.mark.parametrize("seed", range(4))
def test_kappa_at_matched_accuracy_is_the_mean_of_random_draws(seed):
    rng = np.random.default_rng(seed)
    first, second = copies(rng, 60, 0.6, 0.5)
    second |= rng.random(60) < 0.5
    if seed % 2:
        first, second = second, first
    drawn = matched_by_drawing(first, second, 1000, rng)
    error = drawn.std() / np.sqrt(len(drawn))
    assert error > 0
    found = kappa_at_matched_accuracy(*shares(first, second))
    assert found == pytest.approx(drawn.mean(), abs=4 * error)


def test_kappa_at_matched_accuracy_is_the_mean_of_all_draws():
    first = np.array([1, 1, 1, 1, 1, 1, 0, 0], bool)
    second = np.array([1, 1, 1, 0, 0, 0, 1, 0], bool)
    values = []
    for turned in itertools.combinations(np.flatnonzero(first), 2):
        lowered = first.copy()
        lowered[list(turned)] = False
        values.append(cohen_kappa_score(lowered, second))
    found = kappa_at_matched_accuracy(*shares(first, second))
    assert found == pytest.approx(np.mean(values), abs=1e-12)


def test_equal_accuracies_are_matched_already():
    values = np.array([0.7]), np.array([0.7]), np.array([0.6])
    assert kappa_at_matched_accuracy(*values) == pytest.approx(kappa(*values))
