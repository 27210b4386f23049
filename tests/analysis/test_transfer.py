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
from analysis.errors import UserError
from analysis.schema import CONDITION_COLUMNS, describe
from analysis.transfer import LEVELS, transfer_table


@pytest.fixture
def transfer(tasks):
    return lambda study: transfer_table(study.replicates(), study.histories(), tasks)


#: With the score of a guess: a failed seed has an outcome.
WITH_CHANCE = {
    "toy": TaskMetrics(
        primary_metric="accuracy",
        higher_is_better={"loss": False, "accuracy": True},
        chance={"accuracy": 0.1, "loss": 0.9},
    )
}


@pytest.fixture
def whole(toy):
    """Five seeds that finished, in two states with all that `helps, guide-specific` needs."""

    def seeds(*values):
        return dict(enumerate(values))

    study = toy().guide(seeds(0.90, 0.92, 0.91, 0.93, 0.90))
    study.baseline(seeds(0.50, 0.55, 0.52, 0.51, 0.53))
    study.guided(seeds(0.70, 0.73, 0.74, 0.72, 0.71))
    study.guided(seeds(0.60, 0.66, 0.61, 0.63, 0.62), "untrained")
    study.control("shuffled", seeds(0.48, 0.55, 0.50, 0.52, 0.51))
    study.control("shuffled", seeds(0.47, 0.50, 0.52, 0.50, 0.51), "untrained")
    study.control("input", seeds(0.62, 0.64, 0.61, 0.63, 0.60), None)
    study.control("labels", seeds(0.65, 0.66, 0.67, 0.66, 0.64), None, num_pairs=1)
    return study


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


def test_guide_specific_needs_every_required_control(whole, transfer):
    frame = transfer(whole)
    for state in ("trained", "untrained"):
        found = row(frame, state=state)
        assert pd.isna(found["missing_controls"])
    assert row(frame)["verdict"] == "helps, guide-specific"
    assert row(frame)["specific_control"] == "labels"
    whole.plan = [
        each for each in whole.plan if each["control" if "control" in each else "role"] != "labels"
    ]
    found = row(transfer(whole))
    assert found["verdict"] == "helps, specificity not established"
    assert found["missing_controls"] == "labels (not planned)"


@pytest.mark.parametrize("metric", ["accuracy", "loss"])
@pytest.mark.parametrize(
    ("control", "missing"),
    [(0.72, "shuffled (not beaten with failed seeds at chance)"), (0.50, None)],
)
def test_failed_seeds_must_not_undo_the_lead_over_a_control(toy, control, missing, metric):
    seeds = range(12)
    study = toy().guide({k: 0.9 + 0.001 * k for k in seeds})
    study.baseline({k: 0.50 + 0.005 * (7 * k % 5) for k in seeds})
    # At chance, the seed that failed takes (.75 - .1) / 12 from a lead of .03 or .25.
    study.guided({k: "failed" if k == 3 else 0.75 + 0.004 * (3 * k % 5) for k in seeds})
    study.control("shuffled", {k: control + 0.003 * (5 * k % 7) for k in seeds})
    for other in ("input", "labels"):
        study.control(other, {k: 0.40 + 0.003 * (5 * k % 7) for k in seeds}, None)
    found = row(transfer_table(study.replicates(), study.histories(), WITH_CHANCE), metric)
    specificity = "guide-specific" if missing is None else "specificity not established"
    assert found["verdict"].removeprefix("descriptive: ") == f"helps, {specificity}"
    assert found["specific_low"] > 0
    assert (None if pd.isna(found["missing_controls"]) else found["missing_controls"]) == missing


def test_a_control_must_have_finished_at_every_seed_of_the_row(whole, transfer):
    name = "control/fcn/cnn/None/labels/linear_cka/alpha=1/4"
    assert name in whole.outcomes
    whole.outcomes[name] = "missing"
    found = row(transfer(whole))
    assert found["verdict"] == "helps, specificity not established"
    assert found["missing_controls"] == "labels (4 of 5 seeds)"
    whole.outcomes["baseline/fcn/4"] = "missing"
    assert row(transfer(whole))["verdict"] == "helps, guide-specific"


@pytest.mark.parametrize(
    ("required", "missing"),
    [
        (["shuffled"], None),
        (["shuffled", "labels(at=all)"], "labels(at=all) (not planned)"),
        (None, None),
    ],
)
def test_the_plan_says_which_controls_are_required(whole, tasks, required, missing):
    replicates = whole.replicates()
    is_guided = (replicates["control"] == "none") & (replicates["state"] == "trained")
    replicates["required_controls"] = [required if guided else None for guided in is_guided]
    found = row(transfer_table(replicates, whole.histories(), tasks))
    assert found["missing_controls"] == missing or (
        missing is None and pd.isna(found["missing_controls"])
    )
    assert (found["verdict"] == "helps, guide-specific") == (missing is None)


def test_distillation_requires_its_own_controls(toy, transfer):
    answers = {"distance": "distillation(temperature=2)"}
    study = toy().baseline({0: 0.5, 1: 0.51, 2: 0.52}).guided({0: 0.7, 1: 0.71, 2: 0.73}, **answers)
    study.control("shuffled", {0: 0.5, 1: 0.52, 2: 0.51}, **answers)
    found = row(transfer(study))
    assert found["missing_controls"] == "uniform (not planned)"
    study.control("uniform", {0: 0.51, 1: 0.52, 2: 0.53}, None, **answers)
    assert row(transfer(study))["verdict"] == "helps, guide-specific"


def test_labels_belong_to_the_trained_guide_alone(whole, transfer):
    frame = transfer(whole)
    assert row(frame)["labels"] == pytest.approx(0.656)
    assert pd.isna(row(frame, state="untrained")["labels"])
    control = row(frame, control="labels", state=None)
    assert control["specific"] == pytest.approx(row(frame)["guided"] - 0.656)


def test_each_control_has_a_column_of_levels(whole, transfer):
    for label in ("labels(at=all)", "class_shuffled", "reversed", "self"):
        whole.control(label, dict.fromkeys(range(5), 0.4 + 0.01 * len(label)))
    found = row(transfer(whole))
    assert list(LEVELS) == [
        "shuffled", "input", "labels", "labels_all", "class_shuffled", "reversed", "self",
    ]  # fmt: skip
    assert found["labels_all"] == pytest.approx(0.4 + 0.01 * len("labels(at=all)"))
    for name in ("class_shuffled", "reversed", "self"):
        assert found[name] == pytest.approx(0.4 + 0.01 * len(name))
    none_of_trained = row(transfer(whole), state="untrained")
    assert none_of_trained[["labels_all", "class_shuffled", "reversed", "self"]].isna().all()


def test_a_control_with_other_pairs_decides_nothing(whole, transfer):
    better = dict(enumerate([0.75, 0.77, 0.78, 0.79, 0.74]))
    whole.control("self", better, num_pairs=2)
    found = row(transfer(whole))
    assert found["verdict"] == "helps, guide-specific"
    assert found["uncompared_controls"] == "self (2 pairs against 3)"
    assert found["self"] == pytest.approx(0.766)
    assert found["specific_control"] == "labels"
    for each in whole.plan:
        if each.get("control") == "self":
            each["num_pairs"] = 3
    found = row(transfer(whole))
    assert found["verdict"] == "helps, specificity not established"
    assert pd.isna(found["uncompared_controls"])
    assert found["specific_control"] == "self"


def test_failed_seeds_count_as_outcomes(whole):
    whole.outcomes["guided/fcn/cnn/trained/none/linear_cka/alpha=1/0"] = "failed"
    whole.outcomes["baseline/fcn/1"] = "failed"
    whole.outcomes["guided/fcn/cnn/trained/none/linear_cka/alpha=1/2"] = "missing"
    frame = transfer_table(whole.replicates(), whole.histories(), WITH_CHANCE)
    found = row(frame)
    assert (found["n"], found["n_failed"]) == (2, 3)
    assert (found["n_failed_baseline"], found["n_failed_guided"]) == (1, 1)
    worst = np.array([0.1 - 0.50, 0.73 - 0.53, 0.72 - 0.51, 0.71 - 0.53])
    assert found["difference_worst"] == pytest.approx(worst.mean())
    limits = found[["difference_worst_low", "difference_worst_high"]].tolist()
    assert limits == pytest.approx(interval(worst, np.zeros(4)))
    assert row(frame, "loss")["difference_worst"] == pytest.approx(worst.mean())


def test_help_must_survive_failed_seeds(whole):
    whole.outcomes["guided/fcn/cnn/trained/none/linear_cka/alpha=1/0"] = "failed"
    frame = transfer_table(whole.replicates(), whole.histories(), WITH_CHANCE)
    found = row(frame)
    assert found["difference_low"] > 0 > found["difference_worst_low"]
    assert found["verdict"] == "not established"
    assert found["seeds_disagree"] == True  # noqa: E712
    assert (found["baseline_success"], found["guided_success"]) == (1.0, 0.8)
    assert found["success_threshold"] == pytest.approx(0.1 + 0.1 * (0.912 - 0.1))
    assert found["mcnemar_p"] == 1.0
    whole.outcomes["guided/fcn/cnn/trained/none/linear_cka/alpha=1/0"] = 0.7
    whole.outcomes["baseline/fcn/0"] = "failed"
    found = row(transfer_table(whole.replicates(), whole.histories(), WITH_CHANCE))
    assert found["difference_worst_low"] > 0
    assert found["verdict"] == "helps, guide-specific"


def test_spread_and_median_of_both_arms(full, transfer):
    found = row(transfer(full))
    assert found["baseline_spread"] == pytest.approx(BASELINE.std(ddof=1))
    assert found["guided_spread"] == pytest.approx(TRAINED.std(ddof=1))
    assert found["baseline_median"] == pytest.approx(np.median(BASELINE))
    assert found["guided_median"] == pytest.approx(np.median(TRAINED))


def test_a_margin_is_that_of_its_metric(whole, tasks):
    for seed, value in enumerate([0.501, 0.549, 0.521, 0.509, 0.532]):
        whole.outcomes[f"guided/fcn/cnn/trained/none/linear_cka/alpha=1/{seed}"] = value
    frame = transfer_table(
        whole.replicates(), whole.histories(), tasks, margins={"accuracy": 0.005}
    )
    found = row(frame)
    assert (found["verdict"], found["margin"]) == ("no effect (within margin)", 0.005)
    assert found["verdict_adjusted"] == found["verdict"]
    assert found["tost_p"] < 0.05
    assert row(frame, "loss")[["margin", "tost_p"]].isna().all()
    assert row(frame, "loss")["verdict"] == "descriptive: not established"
    wide = transfer_table(whole.replicates(), whole.histories(), tasks, margins={"loss": 0.05})
    assert row(wide, "loss")["verdict"] == "descriptive: no effect (within margin)"
    assert row(wide)["verdict"] == "not established"


def test_guidance_may_do_no_more_than_a_control(whole, tasks):
    frame = transfer_table(whole.replicates(), whole.histories(), tasks, margins={"accuracy": 0.1})
    # The trained guide beats the labels by .064, the untrained one its input by .004.
    assert row(frame)["verdict"] == "no more than labels (within margin)"
    found = row(frame, state="untrained")["verdict"]
    assert found in ("no more than input (within margin)", "no effect (within margin)")


def noisy(study, spread):
    """A further guided condition whose effect, about .05, has a p value that grows with spread."""
    values = [0.50, 0.55, 0.52, 0.51, 0.53]
    shifts = np.array([-1.0, 0.5, -0.5, 1.0, 0.0])
    outcomes = {k: float(v + 0.05 + spread * shifts[k]) for k, v in enumerate(values)}
    return study.guided(outcomes, schedule=f"alpha={spread}", alpha=spread)


def test_adjusted_verdicts_are_of_the_primary_metric_over_its_family(whole, transfer):
    for spread in (0.0449, 0.2, 0.3, 0.4, 0.5):
        noisy(whole, spread)
    frame = transfer(whole)
    found = row(frame, alpha=0.0449)
    assert found["p_value"] < 0.05 < found["p_adjusted"]
    assert found["verdict"] == "helps, specificity not established"
    assert found["verdict_adjusted"] == "not established"
    assert row(frame, alpha=1.0)["verdict_adjusted"] == "helps, guide-specific"
    others = frame[(frame["control"] != "none") | ~frame["primary"]]
    assert others["verdict_adjusted"].isna().all()


def test_rows_named_before_the_run_are_a_family_of_their_own(whole, tasks):
    for spread in (0.0449, 0.2, 0.3, 0.4, 0.5):
        noisy(whole, spread)
    confirm = ["trained {alpha: 0.0449}", "untrained"]
    frame = transfer_table(whole.replicates(), whole.histories(), tasks, confirm=confirm)
    named = frame[(frame["confirm"] == True) & frame["primary"]]  # noqa: E712
    assert list(zip(named["state"], named["alpha"], strict=True)) == [
        ("untrained", 1.0), ("trained", 0.0449),
    ]  # fmt: skip
    expected = stats.false_discovery_control(named["p_value"])
    np.testing.assert_allclose(named["p_adjusted"].to_numpy(dtype=float), expected)
    rest = frame[(frame["confirm"] == False) & frame["primary"]]  # noqa: E712
    expected = stats.false_discovery_control(rest["p_value"])
    np.testing.assert_allclose(rest["p_adjusted"].to_numpy(dtype=float), expected)
    assert named["verdict_adjusted"].tolist() == ["helps, specificity not established"] * 2
    assert frame.loc[frame["verdict"] == "control", "confirm"].isna().all()


def test_a_name_of_several_rows_is_refused(whole, tasks):
    noisy(whole, 0.2)
    with pytest.raises(UserError, match="2 conditions"):
        transfer_table(whole.replicates(), whole.histories(), tasks, confirm=["trained"])


def test_primary_metrics_of_several_tasks_are_one_family(full, tasks):
    first, second = full.replicates(), full.replicates()
    second["task"] = "other"
    for column in ("replicate_id", "baseline_id", "guide_id"):
        second[column] = "other " + second[column]
    second["test_loss"] = second["test_loss"] ** 2 + 0.05 * (second["seed"] % 3)
    both = pd.concat([first, second], ignore_index=True)
    of_loss = TaskMetrics(primary_metric="loss", higher_is_better={"loss": False, "accuracy": True})
    frame = transfer_table(both, full.histories(), {**tasks, "other": of_loss})
    family = frame[(frame["control"] == "none") & frame["primary"]]
    assert family["metric"].tolist() == ["accuracy"] * 2 + ["loss"] * 2
    expected = stats.false_discovery_control(family["p_value"])
    np.testing.assert_allclose(family["p_adjusted"].to_numpy(dtype=float), expected)


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
