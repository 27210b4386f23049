"""Means over seeds by step."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.learning_curves import learning_curves
from analysis.statistics import intervals_of_means, paired_difference

METRIC = "validation/accuracy"


@pytest.fixture
def study(toy):
    """Baselines report at 10 and 20, the third ends early; guided ones have one seed."""
    made = toy().baseline({0: 0.5, 1: 0.6, 2: 0.7}).guided({0: 0.8})
    for seed, values in {0: (0.1, 0.3), 1: (0.2, 0.5), 2: (0.3,)}.items():
        for step, value in zip((10, 20), values, strict=False):
            made.history.append((f"baseline/fcn/{seed}", step, METRIC, value))
            made.history.append((f"baseline/fcn/{seed}", step, "train/loss", -value))
    guided = made.plan[-1]["replicate_id"]
    made.history.append((guided, 10, METRIC, 0.9))
    made.history.append((guided, 20, METRIC, float("nan")))
    return made


def test_means_and_intervals_by_step(study):
    found = learning_curves(study.histories(), study.replicates(), METRIC)
    assert found["role"].tolist() == ["baseline", "baseline", "guided"]
    assert found["step"].tolist() == [10, 20, 10]
    assert found["n"].tolist() == [3, 2, 1]
    assert found["mean"].tolist() == pytest.approx([0.2, 0.4, 0.9])
    values = [0.1, 0.2, 0.3]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (found["low"][0], found["high"][0]) == pytest.approx((low, high))
    assert found[["low", "high"]].iloc[1:].isna().all().all()
    assert found["guide"].isna().tolist() == [True, True, False]


def test_a_replicate_in_two_conditions_counts_in_both(study):
    replicates = study.replicates()
    guided = replicates[replicates["role"] == "guided"]
    both = pd.concat([replicates, guided.assign(guide="mlp")], ignore_index=True)
    found = learning_curves(study.histories(), both, METRIC)
    assert found["guide"].dropna().tolist() == ["cnn", "mlp"]
    assert found["mean"].tolist()[2:] == [0.9, 0.9]


def test_a_step_that_is_told_twice_counts_once(study):
    study.history.append(("baseline/fcn/0", 10, METRIC, 0.4))
    found = learning_curves(study.histories(), study.replicates(), METRIC)
    assert found["n"].tolist() == [3, 2, 1]
    assert found["mean"][0] == pytest.approx(0.3)


def test_a_metric_that_nobody_reports_has_no_rows(study):
    found = learning_curves(study.histories(), study.replicates(), "validation/loss")
    assert found.empty
    assert {"step", "mean", "low", "high", "target"} <= {*found.columns}


@pytest.mark.parametrize("n", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("spread", [0.0, 1e-17, 0.3])
def test_intervals_are_those_of_paired_differences(n, spread):
    values = 0.1 + spread * np.random.default_rng(n).normal(size=(4, n))
    low, high = intervals_of_means(
        np.full(4, n), values.mean(axis=1),
        values.std(axis=1, ddof=1) if n > 1 else np.full(4, np.nan), np.abs(values).max(axis=1),
    )  # fmt: skip
    for row, *limits in zip(values, low, high, strict=True):
        expected = paired_difference(row, np.zeros(n))
        if expected.low is None:
            assert np.isnan(limits).all()
        else:
            assert limits == pytest.approx([expected.low, expected.high])
