"""Draws against naive resampling and SciPy's bootstrap; coverage on data of known kappa."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.answers import Answers
from analysis.consistency import bootstrap
from analysis.consistency.bootstrap import QUANTILES, Bootstrap, interval
from analysis.consistency.kappa import kappa


def pair(rng, n=300, accuracy=0.7, copied=0.5):
    first, own = rng.random((2, n)) < accuracy
    return {"a": first, "b": np.where(rng.random(n) < copied, first, own)}


def answers_of(table):
    return Answers([table], dict.fromkeys(table["replicate_id"], "toy"))


def drawn(table, **kwargs):
    """Kappa of a and b in each draw."""
    answers = answers_of(table)
    wrong = {name: ~answers.correct(name) for name in "ab"}
    return Bootstrap(answers.split("a"), **kwargs).kappas([("a", "b")], wrong)[0]


def test_draws_are_those_of_scipy(predictions_of):
    right = pair(np.random.default_rng(0))
    found = interval(drawn(predictions_of(right), draws=4000))

    def statistic(a, b, axis):
        return kappa(a.mean(axis), b.mean(axis), (a & b).mean(axis))

    expected = stats.bootstrap(
        (right["a"], right["b"]), statistic, paired=True, n_resamples=4000, method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    width = expected.high - expected.low
    assert found == pytest.approx((expected.low, expected.high), abs=0.06 * width)


def naive(right, clusters, draws, rng):
    """Kappa of each draw, by copying whole clusters."""
    members = [np.flatnonzero(clusters == c) for c in np.unique(clusters)]
    values = []
    for _ in range(draws):
        rows = np.concatenate([members[c] for c in rng.integers(len(members), size=len(members))])
        a, b = right["a"][rows], right["b"][rows]
        values.append(float(kappa(a.mean(), b.mean(), (a & b).mean())))
    return values


def test_clusters_are_drawn_whole(predictions_of):
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(40), [5, 1] * 20)
    right = pair(rng, 40)
    right = {name: values[clusters] for name, values in right.items()}
    found = drawn(predictions_of(right, clusters=clusters), draws=4000)
    expected = naive(right, clusters, 1000, rng)
    spread = np.std(expected)
    assert np.mean(found) == pytest.approx(np.mean(expected), abs=5 * spread / np.sqrt(1000))
    assert np.std(found) == pytest.approx(spread, rel=0.1)
    # Copies of an example say nothing new: drawn one by one, the interval would be too narrow.
    alone = drawn(predictions_of(right), draws=4000)
    assert np.std(alone) < 0.75 * np.std(found)


def test_each_draw_is_a_sample_of_as_many_clusters(predictions_of):
    weights = bootstrap.draw_counts(200, 50)
    assert weights.sum(0).tolist() == [200] * 50
    assert weights.var() == pytest.approx(1 - 1 / 200, rel=0.1)


def test_blocks_give_the_same_numbers(predictions_of, monkeypatch):
    answers = answers_of(predictions_of(pair(np.random.default_rng(0))))
    wrong = {name: ~answers.correct(name) for name in "ab"}
    both = [("a", "b"), ("b", "a")]
    expected = Bootstrap(answers.split("a")).kappas(both, wrong)
    np.testing.assert_allclose(expected[0], expected[1], atol=1e-12)
    monkeypatch.setattr(bootstrap, "BLOCK_BYTES", 4 * 1000 * 7)
    monkeypatch.setattr(bootstrap, "KEPT_REPLICATES", 1)
    monkeypatch.setattr(bootstrap, "AT_ONCE", 2)
    small = Bootstrap(answers.split("a"))
    for _ in range(2):
        found = small.kappas(both, wrong)
        np.testing.assert_array_equal(found, expected)
    assert len(small) == 1


def test_a_draw_in_which_a_side_is_perfect_has_no_kappa(predictions_of):
    right = {"a": np.arange(20) > 0, "b": np.arange(20) > 9}
    found = drawn(predictions_of(right))
    # The only error of `a` is in no draw of 20 with probability .95^20 = .36.
    assert np.isnan(found).mean() == pytest.approx(0.95**20, abs=0.06)
    assert interval(found) == (None, None)


def test_an_interval_is_of_percentiles():
    values = np.random.default_rng(0).normal(size=1000)
    assert interval(values) == pytest.approx(tuple(np.quantile(values, QUANTILES)))
    few = values.copy()
    few[:50] = np.nan
    assert interval(few) == pytest.approx(tuple(np.quantile(few[50:], QUANTILES)))
    few[50] = np.nan
    assert interval(few) == (None, None)


def test_intervals_hold_the_true_kappa(predictions_of):
    """Of 300 data sets with kappa .4, 95 % of the intervals hold it, but for chance."""
    rng = np.random.default_rng(5)
    held = 0
    sets = 300
    right = {f"{k}{side}": value for k in range(sets) for side, value in
             pair(rng, 400, 0.75, 0.4).items()}  # fmt: skip
    split = answers_of(predictions_of(right)).split("0a")
    wrong = {name: ~values for name, values in right.items()}
    pairs = [(f"{k}a", f"{k}b") for k in range(sets)]
    for draws in Bootstrap(split, 500).kappas(pairs, wrong):
        low, high = interval(draws)
        held += low <= 0.4 <= high
    # Two standard errors of a share of .95 among 300 are .025.
    assert held / sets == pytest.approx(0.95, abs=0.03)


def test_one_cluster_has_no_interval(predictions_of):
    right = pair(np.random.default_rng(0), 40)
    assert interval(drawn(predictions_of(right, clusters=[7] * 40))) == (None, None)
