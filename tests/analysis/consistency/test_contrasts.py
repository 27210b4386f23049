"""Agreements of pairs, and weighted means of their kappas over seeds."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.answers import Answers
from analysis.consistency import contrasts
from analysis.consistency.bootstrap import Bootstrap, interval
from analysis.consistency.contrasts import Agreeing, Contrast

A, B, C = ("a", "b"), ("b", "c"), ("a", "c")


@pytest.fixture
def agreeing(predictions_of):
    rng = np.random.default_rng(0)
    right = {name: rng.random(200) < 0.7 for name in "abc"} | {"perfect": np.ones(200, bool)}
    return Agreeing(Answers([predictions_of(right)], dict.fromkeys(right, "toy")))


def test_pairs_without_a_kappa_are_left_out(agreeing):
    found = agreeing.agreements([A, ("a", "perfect"), ("a", "absent"), A])
    assert list(found.pairs) == [A]
    assert found.draws.shape == (1, 1000)
    assert (A in found, ("a", "perfect") in found) == (True, False)


def test_a_contrast_is_a_mean_over_seeds_of_weighted_kappas(agreeing):
    known = agreeing.agreements([A, B, C])
    found = known.contrast([{A: 1, B: -1}, {C: 0.5, B: 0.5}])
    kappa = {pair: known.pairs[pair].kappa for pair in (A, B, C)}
    first, second = kappa[A] - kappa[B], (kappa[B] + kappa[C]) / 2
    assert found.estimate == pytest.approx((first + second) / 2)
    draws = dict(zip(known.pairs, known.draws, strict=True))
    expected = (draws[A] - draws[B] + (draws[B] + draws[C]) / 2) / 2
    assert (found.low, found.high) == pytest.approx(interval(expected))
    assert known.contrast([]) == Contrast(None, None, None)


def test_a_difference_of_equal_pairs_is_zero_in_every_draw(agreeing):
    """Both sides see the same draws."""
    known = agreeing.agreements([A, ("b", "a")])
    found = known.contrast([{A: 1, ("b", "a"): -1}])
    assert found == pytest.approx((0, 0, 0), abs=1e-12)


def test_draws_of_a_split_are_made_once_while_it_is_kept(predictions_of, monkeypatch):
    made = []

    def counted(*given):
        made.append(given)
        return Bootstrap(*given)

    monkeypatch.setattr(contrasts, "KEPT_BYTES", 1)
    monkeypatch.setattr(contrasts, "Bootstrap", counted)
    rng = np.random.default_rng(0)
    right = {name: rng.random(50) < 0.7 for name in "abcd"}
    tasks = {"a": "one", "b": "one", "c": "two", "d": "two"}
    agreeing = Agreeing(Answers([predictions_of(right)], tasks))
    first = agreeing.agreements([A]).draws
    agreeing.agreements([A])
    assert len(made) == 1
    assert agreeing.agreements([("a", "c")]).pairs == {}
    agreeing.agreements([("c", "d")])
    assert len(made) == 2
    assert agreeing.agreements([A]).draws.tolist() == first.tolist()
    assert len(made) == 3


def test_draws_of_many_splits_are_kept(predictions_of, monkeypatch):
    """Seeds with data of their own: each condition meets the splits of all of them again."""
    made = []

    def counted(*given):
        made.append(given)
        return Bootstrap(*given)

    monkeypatch.setattr(contrasts, "Bootstrap", counted)
    rng = np.random.default_rng(0)
    names = [f"{side}{seed}" for seed in range(20) for side in "ab"]
    right = {name: rng.random(50) < 0.7 for name in names}
    agreeing = Agreeing(Answers([predictions_of(right)], {name: name[1:] for name in names}))
    pairs = [(f"a{seed}", f"b{seed}") for seed in range(20)]
    for _ in range(2):
        agreeing.agreements(pairs)
    assert len(made) == 20
