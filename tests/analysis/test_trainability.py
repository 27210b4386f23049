"""The trainability table, on frames with known numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.cells import TaskMetrics
from analysis.trainability import trainability_table

TASKS = {
    "toy": TaskMetrics(
        primary_metric="accuracy",
        higher_is_better={"loss": False, "accuracy": True},
        chance={"accuracy": 0.1},
    )
}
#: Test and training accuracy by seed.
TARGET = np.array([0.60, 0.63, 0.61, 0.62])
GUIDE = np.array([0.90, 0.92, 0.91, 0.93])


def study_of(toy, target_train, guide_train, target=TARGET, guide=GUIDE):
    study = toy()
    study.guide(dict(enumerate(guide))).baseline(dict(enumerate(target)))
    study.guided(dict.fromkeys(range(len(target)), 0.7))
    for name, values in (("baseline/fcn", target_train), ("guide/cnn", guide_train)):
        for seed, value in enumerate(values):
            study.history += [
                (f"{name}/{seed}", 10, "train/loss", 1.0),
                (f"{name}/{seed}", 10, "train_sample/accuracy", value),
                (f"{name}/{seed}", 10, "train_sample/loss", 1 - value),
            ]
    return study


@pytest.fixture
def row(toy):
    def found(*arguments, metric="accuracy", change=lambda _: None, **options):
        study = study_of(toy, *arguments, **options)
        change(study)
        frame = trainability_table(study.replicates(), study.histories(), TASKS)
        chosen = frame[frame["metric"] == metric]
        assert len(chosen) == 1
        return chosen.iloc[0]

    return found


def limits(first, second):
    interval = stats.ttest_rel(first, second).confidence_interval(0.95)
    return pytest.approx((interval.low, interval.high))


MEMORISED = np.array([1.0, 0.99, 1.0, 0.98])
LEARNT = GUIDE + np.array([0.02, 0.01, 0.03, 0.02])


def test_a_target_that_memorises_overfits(row):
    found = row(MEMORISED, LEARNT)
    assert found["verdict"] == "overfits"
    assert (found["overfits"], found["underfits"], found["converges_badly"]) == (True, False, False)
    gap, other = MEMORISED - TARGET, LEARNT - GUIDE
    assert found["gap"] == pytest.approx(gap.mean())
    assert found["guide_gap"] == pytest.approx(other.mean())
    assert found["gap_difference"] == pytest.approx((gap - other).mean())
    assert (found["gap_difference_low"], found["gap_difference_high"]) == limits(gap, other)
    assert found["train"] == pytest.approx(MEMORISED.mean())
    assert found["guide_test"] == pytest.approx(GUIDE.mean())
    assert (found["n"], found["n_failed"], found["primary"]) == (4, 0, True)
    assert pd.isna(found["budget"])


def test_a_target_that_cannot_learn_underfits(row):
    train = TARGET + np.array([0.02, 0.01, 0.02, 0.03])
    found = row(train, LEARNT)
    assert found["verdict"] == "underfits"
    assert found["train_difference"] == pytest.approx((train - LEARNT).mean())
    assert (found["train_difference_low"], found["train_difference_high"]) == limits(train, LEARNT)


def test_both_may_hold(row):
    train = TARGET + np.array([0.2, 0.2, 0.21, 0.19])
    assert row(train, LEARNT)["verdict"] == "overfits, underfits"


def test_lower_is_better_turns_the_differences(row):
    up, down = row(MEMORISED, LEARNT), row(MEMORISED, LEARNT, metric="loss")
    for column in ("gap", "gap_difference", "gap_difference_low", "train_difference"):
        assert down[column] == pytest.approx(up[column]), column
    assert down["train"] == pytest.approx(1 - up["train"])
    # Its chance is not known.
    assert pd.isna(down["success"])
    assert pd.isna(down["converges_badly"])
    assert down["verdict"] == "descriptive: overfits"


def test_two_kinds_of_seeds_converge_badly(row):
    # A tenth of the way from .1 to .915 is .1815.
    target = np.array([0.60, 0.11, 0.12, 0.62])
    found = row(target + 0.01, LEARNT, target=target)
    assert found["success"] == 0.5
    assert bool(found["converges_badly"])
    assert found["verdict"].endswith("converges badly")


def test_a_failed_seed_converges_badly(row):
    def fail(study):
        study.outcomes["baseline/fcn/3"] = "failed"

    found = row(LEARNT, LEARNT, change=fail)
    assert (found["n"], found["n_failed"]) == (3, 1)
    assert found["success"] == 0.75
    assert "converges badly" in found["verdict"]


def test_one_that_learns_as_well_has_nothing_established(row):
    train = LEARNT + np.array([0.01, -0.01, 0.01, -0.01])
    found = row(train, LEARNT, target=GUIDE + np.array([0, 0.01, -0.01, 0]))
    assert found["verdict"] == "not established"
    assert (found["overfits"], found["underfits"], found["converges_badly"]) == (False,) * 3


def test_older_replicates_are_not_known(row):
    def forget(study):
        study.history = [point for point in study.history if point[2] == "train/loss"]

    found = row(LEARNT, LEARNT, change=forget)
    assert found["n"] == 0
    assert found["verdict"] == "not known"
    for column in ("train", "test", "gap", "overfits", "underfits", "gap_difference"):
        assert pd.isna(found[column]), column
    assert found["success"] == 1


def test_one_row_for_each_pair_of_target_and_guide(toy):
    study = study_of(toy, MEMORISED, LEARNT)
    study.guided(dict.fromkeys(range(4), 0.7), "untrained")
    study.control("shuffled", dict.fromkeys(range(4), 0.5))
    study.guide(dict.fromkeys(range(4), 0.8), "rnn")
    study.guided(dict.fromkeys(range(4), 0.7), guide="rnn")
    study.baseline(dict.fromkeys(range(4), 0.99), "fcn(train.steps=90)")
    study.guided(dict.fromkeys(range(4), 0.7), guide="cnn+rnn")
    for row in study.plan:
        if row.get("guide") == "cnn+rnn":
            row["guide_id"] = None
    frame = trainability_table(study.replicates(), study.histories(), TASKS)
    pairs = frame[["target", "guide", "metric"]].itertuples(index=False, name=None)
    assert list(pairs) == [
        ("fcn", guide, metric) for guide in ("cnn", "rnn") for metric in ("accuracy", "loss")
    ]
    # A guide that is pretrained is one replicate for all seeds; one without a sample has no number.
    assert frame["n"].tolist() == [4, 4, 0, 0]
