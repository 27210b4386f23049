"""Association over guides: against SciPy, by enumeration, and on relations that are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from analysis.predictors import association as module
from analysis.predictors.association import (
    CONSTANT,
    DRAWS,
    HIGHER,
    LOWER,
    OPEN,
    SEED,
    TOO_FEW,
    association,
    error_reduction,
    predictions,
)


def related(num_guides: int, num_targets: int, slope: float, noise: float, seed: int = 0):
    """A property of guides, and differences that follow it, on targets of unequal gains."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_guides, 1)) + 0.1 * rng.normal(size=(num_guides, num_targets))
    gains = 5 * rng.normal(size=num_targets)
    return x, slope * x + noise * rng.normal(size=x.shape) + gains


def spearman(x, y) -> float:
    return stats.spearmanr((x - x.mean(0)).ravel(), (y - y.mean(0)).ravel()).statistic


def test_one_target_is_spearman_of_scipy():
    x, y = related(7, 1, 1.0, 1.0)
    found = association(x, y)
    assert found.correlation == pytest.approx(stats.spearmanr(x[:, 0], y[:, 0]).statistic)
    # All 5,040 permutations: SciPy's own permutation test of the same statistic.
    test = stats.permutation_test(
        (x[:, 0],), lambda drawn: stats.spearmanr(drawn, y[:, 0]).statistic,
        permutation_type="pairings", n_resamples=np.inf,
    )  # fmt: skip
    assert (found.permutations, found.p_value) == (5040, pytest.approx(test.pvalue))


def test_targets_are_taken_less_their_mean_and_guides_permuted_whole():
    x, y = related(5, 3, 0.4, 1.0)
    found = association(x, y)
    assert found.correlation == pytest.approx(spearman(x, y))
    assert found.correlation != pytest.approx(stats.spearmanr(x.ravel(), y.ravel()).statistic)
    null = np.array([spearman(x[list(order)], y) for order in itertools.permutations(range(5))])
    tails = [np.mean(sign * null >= sign * found.correlation - 1e-12) for sign in (1, -1)]
    assert found.p_value == pytest.approx(min(1, 2 * min(tails)))


def test_the_interval_is_over_drawn_guides():
    x, y = related(6, 2, 0.5, 1.0)
    found = association(x, y)
    drawn = np.random.default_rng(SEED).integers(6, size=(DRAWS, 6))
    values = [spearman(x[each], y[each]) for each in drawn if len(set(each)) > 1]
    low, high = np.quantile(values, [0.025, 0.975])
    assert (found.low, found.high) == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))


def test_one_guide_left_out():
    x, y = related(6, 2, 0.5, 1.0)
    without = [spearman(np.delete(x, g, 0), np.delete(y, g, 0)) for g in range(6)]
    assert association(x, y).left_out == pytest.approx((min(without), max(without)))


@pytest.mark.parametrize(
    ("slope", "noise", "verdict"), [(1.0, 0.3, HIGHER), (-1.0, 0.3, LOWER), (0.0, 1.0, OPEN)]
)
def test_a_known_relation_and_none(slope, noise, verdict):
    x, y = related(8, 3, slope, noise)
    assert association(x, y).verdict == verdict


def test_without_a_relation_a_verdict_is_rare(monkeypatch):
    """At most .05 by the permutation test; intervals alone would err more often."""
    monkeypatch.setattr(module, "PERMUTATIONS", 400)
    monkeypatch.setattr(module, "DRAWS", 200)
    studies = [related(7, 2, 0.0, 1.0, seed) for seed in range(150)]
    wrong = [association(x, y).verdict != OPEN for x, y in studies]
    # The 99.9th percentile of the binomial distribution.
    assert sum(wrong) <= stats.binom.ppf(0.999, len(studies), 0.05)


def test_what_targets_share_is_no_relation():
    """A target that gains most and is most aligned says nothing of its guides."""
    rng = np.random.default_rng(3)
    between = 10 * np.arange(6.0)
    x, y = (rng.normal(size=(6, 6)) + between for _ in range(2))
    assert stats.spearmanr(x.ravel(), y.ravel()).statistic > 0.9
    assert association(x, y).verdict == OPEN


@pytest.mark.parametrize("num_guides", [0, 1, 2, 3, 4])
def test_few_guides_establish_nothing(num_guides):
    x = np.arange(num_guides, dtype=float)[:, None]
    found = association(x, x)
    assert found.verdict == TOO_FEW
    assert (found.correlation is None) == (num_guides < 3)
    if num_guides == 4:
        # That four guides stand in order, by chance, in either direction.
        assert found.p_value == pytest.approx(2 / 24)
    assert association(np.arange(5.0)[:, None], np.arange(5.0)[:, None]).verdict == HIGHER


def test_a_side_that_does_not_vary_has_no_correlation():
    x, y = related(6, 1, 1.0, 0.1)
    for found in (association(np.ones_like(x), y), association(x, np.zeros_like(y))):
        assert (found.correlation, found.p_value, found.verdict) == (None, None, CONSTANT)


def test_36_independent_cells_and_a_correlation_of_a_half():
    """The figure in the table's description, by Fisher's z with the variance of Spearman's rho.

    Bonett and Wright 2000, Psychometrika 65: (1 + r^2 / 2) / (n - 3).
    """
    half = 1.96 * math.sqrt((1 + 0.5**2 / 2) / 33)
    low, high = np.tanh(np.arctanh(0.5) + np.array([-half, half]))
    assert (high - low) / 2 == pytest.approx(0.26, abs=0.01)


def test_predictions_are_of_the_line_through_other_guides():
    x, y = related(6, 2, 2.0, 0.5)
    found = predictions(x, y)
    for g, t in np.ndindex(6, 2):
        others = np.arange(6) != g
        design = np.column_stack([np.ones(5), x[others, t]])
        row = np.array([1.0, x[g, t]])
        weights, (squares,), *_ = np.linalg.lstsq(design, y[others, t])
        assert found.values[g, t] == pytest.approx(row @ weights)
        spread = squares / 3 * (1 + row @ np.linalg.inv(design.T @ design) @ row)
        half = stats.t.ppf(0.975, 3) * math.sqrt(spread)
        assert found.high[g, t] - found.values[g, t] == pytest.approx(half)
        assert found.values[g, t] - found.low[g, t] == pytest.approx(half)


def test_prediction_intervals_hold_new_guides():
    held = []
    for seed in range(300):
        x, y = related(6, 1, 1.0, 1.0, seed)
        found = predictions(x, y)
        held.append(bool(found.low[0, 0] <= y[0, 0] <= found.high[0, 0]))
    assert stats.binomtest(sum(held), len(held), 0.95).pvalue > 0.001


def test_predictions_need_three_others_that_vary():
    x, y = related(3, 1, 1.0, 0.1)
    assert np.isnan(predictions(x, y).values).all()
    x, y = related(4, 1, 1.0, 0.1)
    assert np.isfinite(predictions(x, y).low).all()
    assert np.isnan(predictions(np.ones_like(x), y).values).all()


def test_a_good_predictor_errs_less_than_the_mean_of_others():
    x, y = related(8, 2, 2.0, 0.2)
    predicted = predictions(x, y).values
    found = error_reduction(y, predicted)
    mean_of_others = np.array([np.delete(y, g, 0).mean(0) for g in range(8)])
    by_guide = np.abs(y - mean_of_others).mean(1) - np.abs(y - predicted).mean(1)
    assert (found.n, found.mean) == (8, pytest.approx(by_guide.mean()))
    limits = stats.ttest_1samp(by_guide, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((limits.low, limits.high))
    assert found.positive
    x, y = related(8, 2, 0.0, 1.0)
    assert not error_reduction(y, predictions(x, y).values).positive


def test_no_error_without_predictions():
    x, y = related(3, 1, 1.0, 0.1)
    found = error_reduction(y, predictions(x, y).values)
    assert (found.n, found.mean) == (0, None)
    assert error_reduction(y[:, :0], y[:, :0]).n == 0
