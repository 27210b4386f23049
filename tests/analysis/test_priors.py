"""The priors table on frames with known numbers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.contract import CONDITION_COLUMNS
from analysis.priors import prior_table
from analysis.schema import describe

BASELINE = np.array([0.50, 0.55, 0.52, 0.51, 0.53])
UNTRAINED = np.array([0.60, 0.66, 0.61, 0.63, 0.62])
TRAINED = np.array([0.70, 0.73, 0.74, 0.71])
INPUT = np.array([0.62, 0.64, 0.61, 0.63, 0.60])
PARTS = ("geometry", "architecture_beyond_input", "architecture_prior", "knowledge", "total")
LABEL_PARTS = ("label_part", "trained_beyond_labels")
QUANTITIES = (*PARTS, *LABEL_PARTS, "architecture_specific")
#: Seeds at which the trained guide finished too.
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
    assert tuple(frame.columns[:12]) == CONDITION_COLUMNS
    assert frame["metric"].tolist() == ["accuracy", "loss"]
    assert frame[["state", "control"]].isna().all().all()
    for _, found in frame.iterrows():
        check(found, "geometry", INPUT[BOTH], BASELINE[BOTH])
        check(found, "architecture_beyond_input", UNTRAINED[BOTH], INPUT[BOTH])
        check(found, "architecture_prior", UNTRAINED[BOTH], BASELINE[BOTH])
        check(found, "knowledge", TRAINED, UNTRAINED[BOTH])
        check(found, "total", TRAINED, BASELINE[BOTH])
        # A figure of its own, over the seeds of the untrained guide and its strongest rival.
        check(found, "architecture_specific", UNTRAINED, INPUT)
        for name in LABEL_PARTS:
            assert found[[name, f"{name}_n"]].isna().all()


def test_parts_add_up_whatever_seeds_were_lost(full, priors):
    for lost in (None, "input", "untrained"):
        for name in full.outcomes:
            if lost is not None and f"/{lost}" in name and name.endswith("/0"):
                full.outcomes[name] = "failed"
        for _, found in priors(full).iterrows():
            steps = found["geometry"] + found["architecture_beyond_input"] + found["knowledge"]
            assert steps == pytest.approx(found["total"])
            assert found["architecture_prior"] + found["knowledge"] == pytest.approx(steps)
            assert len({found[f"{name}_n"] for name in PARTS}) == 1


def test_the_part_of_labels_adds_up_to_the_total(full, priors):
    labels = {0: 0.71, 1: 0.70, 2: 0.69, 3: 0.70, 4: 0.72}
    # At all pairs it has another label, and is no part.
    full.control("labels(at=all)", dict.fromkeys(labels, 0.1))
    assert priors(full)["label_part_n"].isna().all()
    full.control("labels", labels)
    values = np.array(list(labels.values()))[BOTH]
    for _, found in priors(full).iterrows():
        check(found, "label_part", values, BASELINE[BOTH])
        check(found, "trained_beyond_labels", TRAINED, values)
        both = found["label_part"] + found["trained_beyond_labels"]
        assert both == pytest.approx(found["total"])


def test_a_side_that_finished_nowhere_leaves_the_others(full, priors):
    for name in full.outcomes:
        if "/input/" in name:
            full.outcomes[name] = "failed"
    found = priors(full).iloc[0]
    for name in ("geometry", "architecture_beyond_input"):
        assert found[f"{name}_n"] == 0
        assert found[[name, f"{name}_low", f"{name}_high"]].isna().all()
    check(found, "total", TRAINED, BASELINE[BOTH])
    check(found, "knowledge", TRAINED, UNTRAINED[BOTH])


def test_the_baseline_is_among_what_an_untrained_guide_must_beat(toy, priors):
    study = (
        toy().baseline({0: 0.60, 1: 0.61, 2: 0.60}).guided({0: 0.63, 1: 0.62, 2: 0.65}, "untrained")
    )
    study.control("shuffled", {0: 0.50, 1: 0.52, 2: 0.51}, "untrained")
    found = priors(study).iloc[0]
    check(
        found, "architecture_specific", np.array([0.63, 0.62, 0.65]), np.array([0.60, 0.61, 0.60])
    )


def test_knowledge_can_be_negative(toy, priors):
    study = toy().baseline({0: 0.2, 1: 0.21, 2: 0.2}).guided({0: 0.23, 1: 0.24, 2: 0.25})
    study.guided({0: 0.42, 1: 0.43, 2: 0.4}, "untrained")
    found = priors(study).iloc[0]
    assert found["knowledge_high"] < 0 < found["total_low"]


def test_a_state_that_was_not_run_is_null(toy, priors):
    study = toy().baseline({0: 0.5, 1: 0.5}).guided({0: 0.6, 1: 0.7})
    found = priors(study.control("shuffled", {0: 0.5, 1: 0.5})).iloc[0]
    assert found["total"] == pytest.approx(0.15)
    for name in set(QUANTITIES) - {"total"}:
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


def test_controls_of_which_none_finished_leave_nothing_specific(toy, priors):
    study = toy().baseline({0: 0.50, 1: 0.52, 2: 0.54})
    study.guided({0: 0.63, 1: 0.62, 2: 0.65}, "untrained")
    study.control("shuffled", dict.fromkeys(range(3), "failed"), "untrained")
    study.control("input", dict.fromkeys(range(3), "missing"), None)
    found = priors(study).iloc[0]
    check(found, "architecture_prior", np.array([0.63, 0.62, 0.65]), np.array([0.50, 0.52, 0.54]))
    assert np.isnan(found["architecture_specific"])
    assert found["architecture_specific_n"] == 0
