"""The transfer table, rule by rule, on frames with known numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.cells import TaskMetrics
from analysis.contract import CONDITION_COLUMNS
from analysis.schema import describe
from analysis.transfer import transfer_table
from tests.helpers.transfer_rows import interval, row

BASELINE = np.array([0.50, 0.55, 0.52, 0.53])
TRAINED = np.array([0.70, 0.73, 0.74, 0.71])
GUIDE = np.array([0.90, 0.92, 0.91, 0.90])


def test_one_row_for_each_condition_and_metric_headline_first(full, transfer):
    frame = transfer(full)
    assert list(frame.columns) == describe("transfer")["column"].tolist()
    assert tuple(frame.columns[:12]) == CONDITION_COLUMNS
    assert len(frame) == 5 * 2
    assert frame["metric"].tolist()[:2] == ["accuracy", "loss"]
    assert frame["higher_is_better"].tolist()[:2] == [True, False]


def test_levels_are_means_over_the_seeds_at_which_both_finished(full, transfer):
    found = row(transfer(full))
    assert (found["n"], found["n_failed"], found["num_pairs"]) == (4, 1, 3)
    assert found["baseline"] == pytest.approx(BASELINE.mean())
    assert found["guided"] == pytest.approx(TRAINED.mean())
    assert found["guide_alone"] == pytest.approx(GUIDE.mean())
    assert found["shuffled"] == pytest.approx(np.mean([0.48, 0.55, 0.50]))
    assert found["input"] == pytest.approx(np.mean([0.62, 0.64, 0.61, 0.60]))


def test_difference_is_paired(full, transfer):
    found = row(transfer(full))
    assert found["difference"] == pytest.approx((TRAINED - BASELINE).mean())
    low, high = interval(TRAINED, BASELINE)
    assert (found["difference_low"], found["difference_high"]) == pytest.approx((low, high))
    assert found["p_value"] == pytest.approx(stats.ttest_rel(TRAINED, BASELINE).pvalue)
    assert "over seeds, given one data set" in found["interval"]
    assert found["test"] == "two-sided paired t"


def test_a_failed_baseline_takes_its_seed_out(full, transfer):
    full.outcomes["baseline/fcn/0"] = "failed"
    found = row(transfer(full))
    assert (found["n"], found["n_failed"]) == (3, 2)
    assert found["guided"] == pytest.approx(TRAINED[1:].mean())


def test_a_finished_replicate_without_the_metric_is_lost(full, transfer):
    full.outcomes["baseline/fcn/0"] = float("inf")
    frame = transfer(full)
    assert row(frame)["n"] == 3
    assert np.isfinite(row(frame)["difference"])


def test_lower_is_better_turns_differences_not_levels(full, transfer):
    frame = transfer(full)
    up, down = row(frame), row(frame, "loss")
    assert down["guided"] == pytest.approx(1 - up["guided"])
    same = ["difference", "difference_low", "difference_high", "p_value", "effect_size"]
    same += ["specific", "specific_low", "specific_high"]
    same += ["gap_closed", "gap_closed_low", "gap_closed_high"]
    for column in same:
        assert down[column] == pytest.approx(up[column]), column
    for column in ["specific_control", "specific_n", "at_ceiling", "n", "missing_controls"]:
        assert down[column] == up[column]
    assert down["verdict"] == f"descriptive: {up['verdict']}"
    assert (up["primary"], down["primary"]) == (True, False)


def test_specific_is_that_of_the_lowest_lower_limit(full, transfer):
    found = row(transfer(full))
    controls = np.array([0.62, 0.64, 0.61, 0.60])
    assert found["specific_control"] == "input"
    assert found["specific"] == pytest.approx((TRAINED - controls).mean())
    assert (found["specific_low"], found["specific_high"]) == pytest.approx(
        interval(TRAINED, controls)
    )
    assert found["specific_n"] == 4


def test_the_lowest_lower_limit_need_not_be_the_lowest_mean(whole, transfer):
    whole.control("noise", dict(enumerate([0.3, 0.75, 0.74, 0.30, 0.75])))
    found = row(transfer(whole))
    noise, labels = (row(transfer(whole), control="noise"), found["labels"])
    assert found["specific_control"] == "noise"
    assert found["specific"] == noise["specific"] > found["guided"] - labels
    assert found["specific_low"] == noise["specific_low"]


def test_specific_needs_the_baseline_too(full, transfer):
    full.outcomes["baseline/fcn/4"] = "failed"
    found = row(transfer(full), control="shuffled")
    assert found["specific"] == pytest.approx(np.mean([0.22, 0.18, 0.24]))
    found = row(transfer(full))
    assert found["specific"] == pytest.approx(np.mean([0.08, 0.09, 0.13]))


def test_the_input_control_counts_for_both_states(full, transfer):
    frame = transfer(full)
    untrained = row(frame, state="untrained")
    assert untrained["input"] == pytest.approx(np.mean([0.62, 0.64, 0.61, 0.63, 0.60]))
    assert untrained["specific_control"] == "input"
    assert untrained["specific"] == pytest.approx(np.mean([-0.02, 0.02, 0.0, 0.0, 0.02]))
    assert untrained["verdict"] == "helps, specificity not established"
    assert untrained["missing_controls"] == "shuffled (4 of 5 seeds)"


def test_a_control_has_a_row_of_its_own(full, transfer):
    found = row(transfer(full), control="shuffled")
    assert found["verdict"] == "control"
    assert (found["n"], found["n_failed"]) == (4, 1)
    assert found["guided"] == pytest.approx(np.mean([0.48, 0.55, 0.50, 0.52]))
    assert found["baseline"] == pytest.approx(np.mean([0.50, 0.55, 0.52, 0.51]))
    assert found["difference"] == pytest.approx(np.mean([-0.02, 0.0, -0.02, 0.01]))
    assert found["specific"] == pytest.approx(np.mean([0.22, 0.18, 0.24]))
    for column in ["shuffled", "input", "specific_control", "p_adjusted"]:
        assert pd.isna(found[column]), column


def test_an_input_control_is_compared_with_the_trained_guide_else_the_untrained(toy, transfer):
    values = {"baseline": {0: 0.5, 1: 0.5}, "trained": {0: 0.8, 1: 0.7}}
    study = toy().baseline(values["baseline"]).control("input", {0: 0.6, 1: 0.6}, None)
    study.guided({0: 0.65, 1: 0.65}, "untrained")
    assert row(transfer(study), control="input", state=None)["specific"] == pytest.approx(0.05)
    study.guided(values["trained"])
    assert row(transfer(study), control="input", state=None)["specific"] == pytest.approx(0.15)


def test_controls_of_other_conditions_do_not_count(toy, transfer):
    baseline = {0: 0.5, 1: 0.51, 2: 0.52}
    study = toy().baseline(baseline).guided({0: 0.7, 1: 0.71, 2: 0.73})
    other = {0: 0.71, 1: 0.72, 2: 0.71}
    study.control("shuffled", other, "untrained").control("shuffled", other, distance="rsa")
    found = row(transfer(study))
    assert found["verdict"] == "helps, specificity not established"
    missing = "shuffled (not planned); input (not planned); labels (not planned)"
    assert found["missing_controls"] == missing
    assert found[["specific", "specific_n", "specific_control"]].isna().all()
    assert pd.isna(row(transfer(study), control="shuffled", distance="rsa")["specific"])


def test_noise_counts_among_the_controls(full, transfer):
    full.control("noise", {0: 0.69, 1: 0.70, 2: 0.75, 3: 0.7, 4: 0.70})
    assert row(transfer(full))["specific_control"] == "noise"


def test_gap_closed_is_a_ratio_of_means_with_fieller_limits(full, transfer):
    found = row(transfer(full))
    gap, closed = GUIDE - BASELINE, TRAINED - BASELINE
    assert found["gap_closed"] == pytest.approx(closed.mean() / gap.mean())
    for column in ("gap_closed_low", "gap_closed_high"):
        residual = closed - found[column] * gap
        assert stats.ttest_1samp(residual, 0).pvalue == pytest.approx(0.05)
    assert found["at_ceiling"] == False  # noqa: E712


def test_guide_alone_and_gap_use_the_seeds_at_which_the_guide_finished(full, transfer):
    full.outcomes["guide/cnn/0"] = "failed"
    found = row(transfer(full))
    assert found["n"] == 4
    assert found["guide_alone"] == pytest.approx(GUIDE[1:].mean())
    gap, closed = (GUIDE - BASELINE)[1:], (TRAINED - BASELINE)[1:]
    assert found["gap_closed"] == pytest.approx(closed.mean() / gap.mean())


@pytest.mark.parametrize(
    ("guides", "expected"),
    [
        ([0.45, 0.49, 0.48, 0.46, 0.47], True),
        ([0.50, 0.56, 0.50, 0.51, 0.53], None),
        ([0.50, 0.55, 0.52, 0.51, 0.53], None),
        ([0.55, 0.61, 0.57, 0.55, 0.58], False),
    ],
)
def test_the_interval_of_the_lead_tells_a_ceiling(whole, transfer, guides, expected):
    for seed, value in enumerate(guides):
        whole.outcomes[f"guide/cnn/{seed}"] = value
    frame = transfer(whole)
    for metric in ("accuracy", "loss"):
        found = row(frame, metric)
        assert (
            found["at_ceiling"] is expected
            or found["at_ceiling"] == expected
            or (expected is None and pd.isna(found["at_ceiling"]))
        )
        assert pd.isna(found["gap_closed"]) == (expected is not False)
        assert found["verdict"].endswith("helps, guide-specific")


def test_guide_alone_that_never_finished_leaves_nulls(whole, transfer):
    for seed in range(5):
        whole.outcomes[f"guide/cnn/{seed}"] = "failed"
    found = row(transfer(whole))
    assert found[["guide_alone", "gap_closed", "at_ceiling"]].isna().all()
    assert found["verdict"] == "helps, guide-specific"


def test_guidance_columns_are_means_over_the_seeds_of_the_row(full, transfer):
    found = row(transfer(full))
    bump = 0.01 * np.mean([0, 1, 2, 4])
    assert found["distance_start"] == pytest.approx(0.8 + bump)
    assert found["distance_end"] == pytest.approx(0.3 + bump)
    # Steps 1 to 10 and 11 to 20 are two windows of ten guided steps.
    shares = 1 - (1.5 + bump) / 2.5, 1 - (1.5 + bump) / 2
    assert found["alignment_share"] == pytest.approx(np.mean(shares))


def test_guidance_columns_are_of_guided_windows_whatever_the_order(toy, transfer):
    study = toy().baseline({0: 0.5}).guided({0: 0.6}, stop_step=120)
    name = study.plan[-1]["replicate_id"]
    study.history = [
        (name, 300, "train/loss", 0.7),
        (name, 300, "train/task_loss", 0.7),
        (name, 200, "train/loss", 1.0),
        (name, 200, "train/task_loss", 0.9),
        (name, 200, "train/task_loss", 0.8),
        (name, 100, "train/loss", 1.0),
        (name, 100, "train/task_loss", 0.75),
        (name, 200, "train/distance", 0.4),
        (name, 100, "train/distance", 0.9),
        (name, 300, "train/distance", float("nan")),
    ]
    found = row(transfer(study))
    # Of the second hundred steps twenty are guided, and their alignment is five times its mean.
    share = (100 * 0.25 + 20 * (1.0 / 1.8)) / 120
    assert found[["distance_start", "distance_end", "alignment_share"]].tolist() == pytest.approx(
        [0.9, 0.4, share]
    )


def test_one_seed_has_no_interval_and_establishes_nothing(toy, transfer):
    study = toy().guide({0: 0.9}).baseline({0: 0.5}).guided({0: 0.7})
    found = row(transfer(study.control("shuffled", {0: 0.5})))
    assert found["difference"] == pytest.approx(0.2)
    assert found["specific"] == pytest.approx(0.2)
    assert found["n"] == 1
    null = ["difference_low", "difference_high", "p_value", "p_adjusted", "effect_size"]
    null += ["specific_low", "specific_high", "gap_closed", "interval", "test"]
    assert found[null].isna().all()
    assert found["verdict"] == "not established"


@pytest.mark.parametrize(
    ("baseline", "guided"), [([0.1, 0.3, 0.7], [0.2, 0.4, 0.8]), ([0.1, 0.3], [0.2, 0.5])]
)
def test_without_spread_or_with_two_seeds_nothing_is_established(toy, transfer, baseline, guided):
    study = toy().baseline(dict(enumerate(baseline))).guided(dict(enumerate(guided)))
    found = row(transfer(study))
    assert found["difference"] >= 0.1
    null = ["difference_low", "difference_high", "p_value", "p_adjusted", "effect_size", "test"]
    assert found[[*null, "interval"]].isna().all()
    assert found["verdict"] == "not established"


def test_intervals_say_that_each_seed_has_its_own_data(full, tasks):
    drawn = {name: replace(task, data="per_seed") for name, task in tasks.items()}
    frame = transfer_table(full.replicates(), full.histories(), drawn)
    assert row(frame)["interval"] == "95% Student t over seeds, each with its own data"


def test_nothing_finished_is_null_and_never_zero(toy, transfer):
    study = toy().guide({0: "failed"}).baseline({0: "missing", 1: 0.5})
    study.guided({0: "blocked", 1: "blocked"}).control("shuffled", {0: "blocked", 1: "missing"})
    frame = transfer(study)
    assert len(frame) == 4
    assert frame["n"].tolist() == [0] * 4
    assert frame["n_failed"].tolist() == [2] * 4
    assert frame["n_failed_baseline"].tolist() == [0] * 4
    assert frame["n_failed_guided"].tolist() == [2] * 2 + [1] * 2
    verdicts = ["not established", "descriptive: not established", "control", "control"]
    assert frame["verdict"].tolist() == verdicts
    measured = frame.loc[:, "baseline":"test"].drop(columns=["specific_n", "missing_controls"])
    assert measured.isna().all().all()
    assert frame["specific_n"].tolist() == [0] * 4


def test_an_empty_study_has_empty_tables_with_all_columns(toy, transfer):
    frame = transfer(toy())
    assert len(frame) == 0
    assert list(frame.columns) == describe("transfer")["column"].tolist()


def test_values_of_replicates_that_did_not_finish_do_not_count(full, tasks):
    replicates = full.replicates()
    replicates.loc[replicates["role"] == "baseline", "status"] = "failed"
    frame = transfer_table(replicates, full.histories(), tasks)
    assert (frame["n"] == 0).all()


def test_adjusted_over_the_guided_rows_of_a_metric(full, tasks):
    replicates = full.replicates()
    replicates["test_loss"] = replicates["test_loss"] ** 2 + 0.05 * (replicates["seed"] % 3)
    frame = transfer_table(replicates, full.histories(), tasks)
    for metric in ("accuracy", "loss"):
        family = frame[(frame["metric"] == metric) & (frame["control"] == "none")]
        expected = stats.false_discovery_control(family["p_value"])
        assert len(family) == 2
        np.testing.assert_allclose(family["p_adjusted"], expected)
    assert frame.loc[frame["verdict"] == "control", "p_adjusted"].isna().all()


def test_a_condition_in_two_places_is_tested_once(full, tasks):
    replicates = full.replicates()
    replicates["test_loss"] = replicates["test_loss"] ** 2 + 0.05 * (replicates["seed"] % 3)
    trained = replicates[(replicates["state"] == "trained") & (replicates["control"] == "none")]
    # As with guides that differ only in the batch norm of their untrained state.
    twice = pd.concat([replicates, trained.assign(guide="other")], ignore_index=True)
    once = transfer_table(replicates, full.histories(), tasks)
    both = transfer_table(twice, full.histories(), tasks)
    kept = both[both["guide"] != "other"]["p_adjusted"].to_numpy(dtype=float)
    np.testing.assert_allclose(kept, once["p_adjusted"].to_numpy(dtype=float))
    other = both[both["guide"] == "other"].set_index("metric")["p_adjusted"]
    mine = once[(once["state"] == "trained") & (once["control"] == "none")].set_index("metric")
    for metric in ("accuracy", "loss"):
        assert other[metric] == mine["p_adjusted"][metric]


def test_a_seed_twice_in_one_condition_is_refused(full, transfer):
    twin = {**full.plan[-1], "replicate_id": "twin"}
    full.plan.append(twin)
    full.outcomes["twin"] = 0.5
    with pytest.raises(ValueError, match=r"seed 4 occurs twice .* twin"):
        transfer(full)


def test_an_unknown_task_is_refused(full, tasks):
    with pytest.raises(ValueError, match="metrics of task 'toy' are not known"):
        transfer_table(full.replicates(), full.histories(), {})


accuracies = st.lists(st.integers(0, 100).map(lambda k: k / 100), min_size=2, max_size=6)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10, deadline=None
)
@given(values=accuracies, random=st.randoms(use_true_random=False))
def test_the_order_of_the_plan_changes_nothing(toy, transfer, values, random):
    study = toy().baseline(dict(enumerate(values)))
    study.guided({seed: random.random() for seed in range(len(values))})
    study.control("shuffled", {seed: random.random() for seed in range(len(values))})
    one = transfer(study)
    random.shuffle(study.plan)
    other = transfer(study)
    keys = ["control", "metric"]
    pd.testing.assert_frame_equal(
        one.sort_values(keys, ignore_index=True), other.sort_values(keys, ignore_index=True)
    )


def test_the_headline_metric_comes_first():
    metrics = TaskMetrics(primary_metric="a", higher_is_better=dict.fromkeys("cba", True))
    assert metrics.names == ["a", "c", "b"]
