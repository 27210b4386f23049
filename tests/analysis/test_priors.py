"""The priors table on frames with known numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.priors import prior_table
from analysis.schema import CONDITION_COLUMNS, describe

BASELINE = np.array([0.50, 0.55, 0.52, 0.51, 0.53])
UNTRAINED = np.array([0.60, 0.66, 0.61, 0.63, 0.62])
TRAINED = np.array([0.70, 0.73, 0.74, 0.71])
QUANTITIES = ("architecture_prior", "architecture_specific", "knowledge", "total")
BOTH = [0, 1, 2, 4]


@pytest.fixture
def priors(tasks):
    return lambda study: prior_table(study.replicates(), tasks)


def check(found, name, first, second):
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert found[name] == pytest.approx(np.mean(first - second))
    assert (found[f"{name}_low"], found[f"{name}_high"]) == pytest.approx(
        (expected.low, expected.high)
    )
    assert found[f"{name}_n"] == len(first)


def test_each_quantity_is_a_paired_difference(full, priors):
    frame = priors(full)
    assert list(frame.columns) == describe("priors")["column"].tolist()
    assert tuple(frame.columns[:11]) == CONDITION_COLUMNS
    assert frame["metric"].tolist() == ["accuracy", "loss"]
    assert frame[["state", "control"]].isna().all().all()
    for _, found in frame.iterrows():
        check(found, "architecture_prior", UNTRAINED, BASELINE)
        check(found, "knowledge", TRAINED, UNTRAINED[BOTH])
        check(found, "total", TRAINED, BASELINE[BOTH])
        check(found, "architecture_specific", UNTRAINED, np.array([0.62, 0.64, 0.61, 0.63, 0.60]))


def test_prior_and_knowledge_add_up_to_the_total(full, priors):
    full.outcomes[next(name for name, value in full.outcomes.items() if value == "failed")] = 0.72
    found = priors(full).iloc[0]
    assert found["architecture_prior"] + found["knowledge"] == pytest.approx(found["total"])


def test_knowledge_can_be_negative(toy, priors):
    study = toy().baseline({0: 0.2, 1: 0.21, 2: 0.2}).guided({0: 0.23, 1: 0.24, 2: 0.25})
    study.guided({0: 0.42, 1: 0.43, 2: 0.4}, "untrained")
    found = priors(study).iloc[0]
    assert found["knowledge_high"] < 0 < found["total_low"]


def test_a_state_that_was_not_run_is_null(toy, priors):
    study = toy().baseline({0: 0.5, 1: 0.5}).guided({0: 0.6, 1: 0.7})
    found = priors(study.control("shuffled", {0: 0.5, 1: 0.5})).iloc[0]
    assert found["total"] == pytest.approx(0.15)
    for name in ("architecture_prior", "architecture_specific", "knowledge"):
        assert found[[name, f"{name}_low", f"{name}_high", f"{name}_n"]].isna().all()


def test_a_control_that_was_not_run_is_null(toy, priors):
    study = toy().baseline({0: 0.5, 1: 0.5}).guided({0: 0.6, 1: 0.7}, "untrained")
    found = priors(study).iloc[0]
    assert found["architecture_prior_n"] == 2
    assert found[["architecture_specific", "architecture_specific_n"]].isna().all()


def test_one_row_for_each_guide_target_and_schedule(toy, priors):
    study = toy().baseline({0: 0.5, 1: 0.6}).baseline({0: 0.5, 1: 0.5}, "rnn")
    outcomes = {0: 0.6, 1: 0.7}
    study.guided(outcomes).guided(outcomes, "untrained").control("input", outcomes, None)
    study.guided(outcomes, target="rnn").guided(outcomes, guide="mlp")
    study.guided(outcomes, schedule="alpha=5", alpha=5.0)
    frame = priors(study)
    cells = frame[["guide", "target", "schedule", "metric"]]
    assert len(cells) == len(cells.drop_duplicates()) == 4 * 2


def test_nothing_finished_and_nothing_planned(toy, priors):
    planned = priors(toy().baseline({0: "failed"}).guided({0: "blocked"}))
    assert planned["total_n"].tolist() == [0, 0]
    assert planned["architecture_prior_n"].isna().all()
    for name in QUANTITIES:
        assert planned[[name, f"{name}_low", f"{name}_high"]].isna().all().all()
    assert list(priors(toy()).columns) == describe("priors")["column"].tolist()
