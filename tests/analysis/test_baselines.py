"""Baselines at equal compute and at best validation, on frames with known numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import baselines
from analysis.cells import TaskMetrics
from analysis.transfer import transfer_table

TRAINED = np.array([0.70, 0.73, 0.74, 0.71])
MATCHED = np.array([0.60, 0.66, 0.61, 0.63])


@pytest.fixture
def transfer(tasks):
    return lambda study: transfer_table(study.replicates(), study.histories(), tasks)


@pytest.fixture
def matched(full):
    """The study in which the trained guide's rows have a longer baseline, and one longer still."""
    outcomes = dict(enumerate([*MATCHED[:3], 0.9, MATCHED[3]]))
    full.add("baseline", outcomes, "fcn(steps=9)")
    full.add("baseline", {seed: 0.8 + 0.01 * seed for seed in range(5)}, "fcn(steps=20)")
    for row in full.plan:
        if row["role"] == "guided" and row["state"] == "trained":
            row |= {"matched_id": f"baseline/fcn(steps=9)/{row['seed']}", "flops": 5e9}
            row["matched_full_id"] = f"baseline/fcn(steps=20)/{row['seed']}"
    return full


def guided(frame, state="trained", metric="accuracy"):
    chosen = frame[(frame["control"] == "none") & (frame["state"] == state)]
    return chosen[chosen["metric"] == metric].iloc[0]


def interval(first, second):
    found = stats.ttest_rel(first, second).confidence_interval(0.95)
    return pytest.approx((found.low, found.high))


def test_a_matched_baseline_is_paired_by_seed(matched, transfer):
    found = guided(transfer(matched))
    # The guided replicate of seed 3 failed.
    assert found["matched_n"] == 4
    assert found["baseline_matched"] == pytest.approx(MATCHED.mean())
    assert found["difference_matched"] == pytest.approx((TRAINED - MATCHED).mean())
    limits = found["difference_matched_low"], found["difference_matched_high"]
    assert limits == interval(TRAINED, MATCHED)
    assert found["difference_matched_full"] < 0
    assert found["flops"] == 5e9
    down = guided(transfer(matched), metric="loss")
    assert down["difference_matched"] == pytest.approx(found["difference_matched"])
    assert down["baseline_matched"] == pytest.approx(1 - found["baseline_matched"])


def test_a_matched_baseline_is_in_no_other_figure(matched, full, transfer):
    plain, other = guided(transfer(matched)), guided(transfer(matched), "untrained")
    assert plain["baseline"] == pytest.approx(np.mean([0.50, 0.55, 0.52, 0.53]))
    assert plain["n"] == 4
    for column in ("flops", "baseline_matched", "difference_matched", "matched_n"):
        assert pd.isna(other[column]), column
    assert len(transfer(matched)) == 10


def verdict(transfer, study, matched, guided_outcomes=(0.70, 0.73, 0.74, 0.72, 0.71)):
    """The verdict of the trained guide, all of whose seeds finish, with matched outcomes."""
    for seed, outcome in enumerate(guided_outcomes):
        study.outcomes[f"guided/fcn/cnn/trained/none/linear_cka/alpha=1/{seed}"] = outcome
        study.outcomes[f"baseline/fcn(steps=9)/{seed}"] = matched[seed]
    return guided(transfer(study))["verdict"]


HELPS = "helps, specificity not established"


def test_a_verdict_holds_at_equal_compute(matched, transfer):
    assert verdict(transfer, matched, (0.60, 0.66, 0.61, 0.62, 0.63)) == HELPS


@pytest.mark.parametrize(
    "outcomes",
    [
        (0.8, 0.63, 0.84, 0.62, 0.7),
        (0.8, 0.84, 0.83, 0.82, 0.81),
        ("failed",) * 5,
        (0.60, 0.66, 0.61, 0.62, "failed"),
    ],
    ids=["holds zero", "below zero", "failed", "one seed failed"],
)
def test_a_gain_that_more_steps_give_is_at_equal_steps_only(outcomes, matched, transfer):
    assert verdict(transfer, matched, outcomes) == f"{HELPS} at equal steps only"


def test_what_does_not_help_is_not_qualified(matched, transfer):
    outcomes = (0.5, 0.55, 0.53, 0.52, 0.52)
    assert verdict(transfer, matched, (0.9,) * 5, outcomes) == "not established"


#: Validation accuracy by step; it peaks at 30, and the value of the initial network is higher.
VALIDATION = {0: 0.99, 10: 0.3, 20: 0.5, 30: 0.7, 40: 0.7, 50: 0.6}


def score(study, replicate, at_best, peak=30):
    study.history += [(replicate, s, "validation/accuracy", v) for s, v in VALIDATION.items()]
    # The loss is best at another step, and is not the primary metric.
    study.history += [(replicate, s, "validation/loss", s / 100) for s in VALIDATION]
    for step in (10, 20, 30):
        value = at_best if step == peak else 0.01 * step
        study.history.append((replicate, step, "test_at_best/accuracy", value))
        study.history.append((replicate, step, "test_at_best/loss", 1 - value))


@pytest.fixture
def scored(toy):
    study = toy().baseline({0: 0.5, 1: 0.6, 2: 0.55}).guided({0: 0.7, 1: 0.72, 2: 0.74})
    for seed, (low, high) in enumerate([(0.55, 0.71), (0.61, 0.76), (0.6, 0.77)]):
        score(study, f"baseline/fcn/{seed}", low)
        score(study, f"guided/fcn/cnn/trained/none/linear_cka/alpha=1/{seed}", high)
    return study


def test_both_arms_at_best_validation(scored, transfer):
    found = guided(transfer(scored))
    assert found["baseline_best"] == pytest.approx(np.mean([0.55, 0.61, 0.6]))
    assert found["guided_best"] == pytest.approx(np.mean([0.71, 0.76, 0.77]))
    assert found["difference_best"] == pytest.approx(np.mean([0.16, 0.15, 0.17]))
    limits = found["difference_best_low"], found["difference_best_high"]
    assert limits == interval(np.array([0.71, 0.76, 0.77]), np.array([0.55, 0.61, 0.6]))
    down = guided(transfer(scored), metric="loss")
    assert down["guided_best"] == pytest.approx(1 - found["guided_best"])
    assert down["difference_best"] == pytest.approx(found["difference_best"])
    # The last step stays the result.
    assert found["difference"] == pytest.approx(np.mean([0.2, 0.12, 0.19]))


def test_a_replicate_that_was_not_scored_leaves_the_row_without(scored, transfer):
    name = "baseline/fcn/1"
    scored.history = [
        point for point in scored.history
        if not (point[0] == name and point[2].startswith("test_at_best/"))
    ]  # fmt: skip
    found = guided(transfer(scored))
    assert found["n"] == 3
    for column in ("baseline_best", "guided_best", "difference_best", "difference_best_low"):
        assert pd.isna(found[column]), column
    finished = scored.replicates()["replicate_id"].tolist()
    assert baselines.unscored(scored.histories(), finished) == {name}


def test_the_best_report_itself_must_have_been_scored(scored, tasks):
    # As of a run that was asked for it halfway: its best report came before.
    scored.history = [p for p in scored.history if p[1:3] != (30, "test_at_best/accuracy")]
    scored.history = [p for p in scored.history if p[1:3] != (30, "test_at_best/loss")]
    found = baselines.at_best_validation(scored.replicates(), scored.histories(), tasks)
    assert found == {}


def test_a_lower_loss_is_better(scored):
    tasks = {"toy": TaskMetrics(primary_metric="loss", higher_is_better={"loss": False})}
    found = baselines.at_best_validation(scored.replicates(), scored.histories(), tasks)
    assert found["baseline/fcn/0"] == {"accuracy": 0.1, "loss": 0.9}
