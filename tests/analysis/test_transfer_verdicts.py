"""Verdicts of the transfer table: required controls, failed seeds, margins, families of tests."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.cells import TaskMetrics
from analysis.errors import UserError
from analysis.transfer import LEVELS, transfer_table
from tests.helpers.transfer_rows import interval, row

BASELINE = np.array([0.50, 0.55, 0.52, 0.53])
TRAINED = np.array([0.70, 0.73, 0.74, 0.71])

#: With the score of a guess: a failed seed has an outcome.
WITH_CHANCE = {
    "toy": TaskMetrics(
        primary_metric="accuracy",
        higher_is_better={"loss": False, "accuracy": True},
        chance={"accuracy": 0.1, "loss": 0.9},
    )
}


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
