"""The transfer table, rule by rule, on frames with known numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis import statistics
from analysis.cells import TaskMetrics
from analysis.schema import CONDITION_COLUMNS, describe
from analysis.transfer import transfer_table, verdict


@pytest.fixture
def transfer(tasks):
    return lambda study: transfer_table(study.replicates(), study.histories(), tasks)


def row(frame, metric="accuracy", control="none", state="trained", **columns):
    chosen = frame[(frame["metric"] == metric) & (frame["control"] == control)]
    chosen = chosen[chosen["state"].isna() if state is None else chosen["state"] == state]
    for column, value in columns.items():
        chosen = chosen[chosen[column] == value]
    assert len(chosen) == 1
    return chosen.iloc[0]


def interval(first, second):
    found = stats.ttest_rel(first, second).confidence_interval(0.95)
    return found.low, found.high


BASELINE = np.array([0.50, 0.55, 0.52, 0.53])
TRAINED = np.array([0.70, 0.73, 0.74, 0.71])
GUIDE = np.array([0.90, 0.92, 0.91, 0.90])


def test_one_row_for_each_condition_and_metric_headline_first(full, transfer):
    frame = transfer(full)
    assert list(frame.columns) == describe("transfer")["column"].tolist()
    assert tuple(frame.columns[:11]) == CONDITION_COLUMNS
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
    for column in ["verdict", "specific_control", "at_ceiling", "n"]:
        assert down[column] == up[column]


def test_specific_is_that_of_the_control_beaten_by_least(full, transfer):
    found = row(transfer(full))
    controls = np.array([0.62, 0.64, 0.61, 0.60])
    assert found["specific_control"] == "input"
    assert found["specific"] == pytest.approx((TRAINED - controls).mean())
    assert (found["specific_low"], found["specific_high"]) == pytest.approx(
        interval(TRAINED, controls)
    )
    assert found["verdict"] == "helps, guide-specific"


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
    assert found["verdict"] == "helps, control not run"
    assert pd.isna(found["specific"])
    assert pd.isna(row(transfer(study), control="shuffled", distance="rsa")["specific"])


def test_noise_counts_among_the_controls(full, transfer):
    full.control("noise", {0: 0.69, 1: 0.70, 2: 0.75, 3: 0.7, 4: 0.70})
    found = row(transfer(full))
    assert found["specific_control"] == "noise"
    assert found["verdict"] == "helps, specificity not established"


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


def test_at_ceiling_and_no_gap(full, transfer):
    for seed, value in enumerate([0.5, 0.56, 0.5, 0.51, 0.53]):
        full.outcomes[f"guide/cnn/{seed}"] = value
    frame = transfer(full)
    for metric in ("accuracy", "loss"):
        found = row(frame, metric)
        assert found["at_ceiling"] == True  # noqa: E712
        assert found[["gap_closed", "gap_closed_low", "gap_closed_high"]].isna().all()
        assert found["verdict"] == "helps, guide-specific"


def test_guide_alone_that_never_finished_leaves_nulls(full, transfer):
    for seed in range(5):
        full.outcomes[f"guide/cnn/{seed}"] = "failed"
    found = row(transfer(full))
    assert found[["guide_alone", "gap_closed", "at_ceiling"]].isna().all()
    assert found["verdict"] == "helps, guide-specific"


def test_guidance_columns_are_means_over_the_seeds_of_the_row(full, transfer):
    found = row(transfer(full))
    bump = 0.01 * np.mean([0, 1, 2, 4])
    assert found["distance_start"] == pytest.approx(0.8 + bump)
    assert found["distance_end"] == pytest.approx(0.3 + bump)
    assert found["alignment_share"] == pytest.approx(1 - (1.5 + bump) / 2)


def test_guidance_columns_use_first_and_last_step_whatever_the_order(toy, transfer):
    study = toy().baseline({0: 0.5}).guided({0: 0.6})
    name = study.plan[-1]["replicate_id"]
    study.history = [
        (name, 300, "train/loss", 0.7),
        (name, 200, "train/loss", 1.0),
        (name, 200, "train/task_loss", 0.8),
        (name, 200, "train/task_loss", 0.75),
        (name, 100, "train/loss", 1.0),
        (name, 100, "train/task_loss", 0.1),
        (name, 20, "train/distance", 0.4),
        (name, 1, "train/distance", 0.9),
        (name, 30, "train/distance", float("nan")),
    ]
    found = row(transfer(study))
    assert found[["distance_start", "distance_end", "alignment_share"]].tolist() == pytest.approx(
        [0.9, 0.4, 0.25]
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


def test_zero_spread_has_an_interval_but_neither_p_nor_effect_size(toy, transfer):
    study = toy().baseline({0: 0.1, 1: 0.3, 2: 0.7}).guided({0: 0.2, 1: 0.4, 2: 0.8})
    found = row(transfer(study))
    assert found["difference_low"] == pytest.approx(0.1)
    assert found[["p_value", "p_adjusted", "effect_size", "test"]].isna().all()


def test_nothing_finished_is_null_and_never_zero(toy, transfer):
    study = toy().guide({0: "failed"}).baseline({0: "missing", 1: 0.5})
    study.guided({0: "blocked", 1: "blocked"}).control("shuffled", {0: "blocked", 1: "missing"})
    frame = transfer(study)
    assert len(frame) == 4
    assert frame["n"].tolist() == [0] * 4
    assert frame["n_failed"].tolist() == [2] * 4
    assert frame["verdict"].tolist() == ["not established"] * 2 + ["control"] * 2
    measured = frame.loc[:, "baseline":"test"]
    assert measured.isna().all().all()


def test_an_empty_study_has_empty_tables_with_all_columns(toy, transfer):
    frame = transfer(toy())
    assert len(frame) == 0
    assert list(frame.columns) == describe("transfer")["column"].tolist()


def test_a_guide_no_better_than_the_baseline_is_a_ceiling(toy, transfer):
    same = {0: 0.5, 1: 0.75}
    frame = transfer(toy().guide(same).baseline(same).guided({0: 0.5, 1: 0.8}))
    assert frame["at_ceiling"].tolist() == [True, True]


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


def over(low, high, n=5):
    return statistics.PairedDifference(n=n, mean=(low + high) / 2, low=low, high=high)


UP, AROUND, DOWN = over(0.1, 0.2), over(-0.1, 0.2), over(-0.2, -0.1)
NOTHING, ONE = statistics.PairedDifference(n=0), statistics.PairedDifference(n=1, mean=0.5)


@pytest.mark.parametrize(
    ("difference", "specifics", "expected"),
    [
        (UP, {"shuffled": UP, "input": UP}, "helps, guide-specific"),
        (UP, {"shuffled": UP}, "helps, guide-specific"),
        (UP, {"shuffled": UP, "input": AROUND}, "helps, specificity not established"),
        (UP, {"shuffled": DOWN, "input": UP}, "helps, specificity not established"),
        (UP, {"input": UP}, "helps, specificity not established"),
        (UP, {"shuffled": ONE}, "helps, specificity not established"),
        (UP, {"shuffled": UP, "input": NOTHING}, "helps, specificity not established"),
        (UP, {"shuffled": NOTHING}, "helps, control not run"),
        (UP, {}, "helps, control not run"),
        (DOWN, {"shuffled": UP}, "hurts"),
        (AROUND, {"shuffled": UP}, "not established"),
        (ONE, {"shuffled": UP}, "not established"),
        (NOTHING, {}, "not established"),
        (over(0.0, 0.2), {"shuffled": UP}, "not established"),
    ],
)
def test_verdicts(difference, specifics, expected):
    assert verdict(difference, specifics) == expected


accuracies = st.lists(st.integers(0, 100).map(lambda k: k / 100), min_size=2, max_size=6)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None
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
