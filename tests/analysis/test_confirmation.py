"""Frozen statements against fresh seeds, on hand-made tables: values, families, verdicts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from analysis.confirmation import confirm_table, statements
from analysis.schema import frame_of, schema
from analysis.transfer import transfer_table

BASELINE = (0.50, 0.52, 0.51, 0.49, 0.53)
GAIN = (0.10, 0.12, 0.09, 0.11, 0.10)
NOISE = (0.04, -0.05, 0.02, -0.03, 0.01)
LOSS = tuple(-gain for gain in GAIN)


def scores(gains):
    """Accuracies by seed of an arm that gains this over the baseline; text is a status."""
    pairs = enumerate(zip(BASELINE, gains, strict=True))
    return {seed: g if isinstance(g, str) else b + g for seed, (b, g) in pairs}


@pytest.fixture
def tables(toy, tasks):
    """Tables of a study in which the trained and the untrained guide have these gains."""

    def make(trained, untrained=NOISE, confirm=()):
        study = toy().guide(scores([0.4] * 5)).baseline(scores([0.0] * 5))
        study.guided(scores(trained)).guided(scores(untrained), "untrained")
        for name, state in (
            ("shuffled", "trained"),
            ("shuffled", "untrained"),
            ("input", None),
            ("labels", None),
        ):
            study.control(name, scores(NOISE), state)
        replicates, history = study.replicates(), study.histories()
        return {
            "replicates": replicates,
            "history": history,
            "alignment": frame_of([], schema("alignment")),
            "transfer": transfer_table(replicates, history, tasks, confirm=confirm),
        }

    return make


def confirmed(tables, spec, before, now):
    """Rows of the table `confirm`, where the study had the gains `before`, and has `now`."""
    explored, fresh = (
        statements(name, spec, tables(*gains, confirm=spec.get("confirm", ())).__getitem__)
        for name, gains in (("toy-study", before), ("toy-study-confirm", now))
    )
    frame = confirm_table(
        explored, fresh, study="toy-study", confirmation="toy-study-confirm", attempt=1,
        num_seeds=5,
    )  # fmt: skip
    return frame.to_dict("records")


def test_a_rule_has_its_own_value_and_interval(tables):
    spec = {"expect": [{"rule": "trained - baseline >= 8 points", "claim": "it helps"}]}
    (row,) = statements("toy-study", spec, tables(GAIN).__getitem__)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(GAIN), scale=stats.sem(GAIN))
    assert row["value"] == pytest.approx(np.mean(GAIN))
    assert (row["low"], row["high"]) == pytest.approx((low, high))
    assert (row["place"], row["claim"], row["n"], row["verdict"]) == (
        "expect[0]",
        "it helps",
        5,
        "holds, established",
    )
    assert json.loads(json.dumps(row)) == row


@pytest.mark.parametrize(
    ("rule", "now", "verdict"),
    [
        ("trained - baseline >= 8 points", GAIN, "confirmed"),
        # The mean is 10.4 points, the interval from 9 on.
        ("trained - baseline >= 10 points", GAIN, "not confirmed"),
        ("trained - baseline >= 0", NOISE, "not confirmed"),
        ("trained - baseline >= 0", LOSS, "contradicted"),
        ("trained - baseline <= 0", GAIN, "contradicted"),
        ("trained - baseline <= 0", LOSS, "confirmed"),
    ],
)
def test_the_whole_interval_decides_a_rule(tables, rule, now, verdict):
    (row,) = confirmed(tables, {"expect": [rule]}, (GAIN,), (now,))
    assert row["verdict"] == verdict
    assert row["asked"] == "holds, established"
    assert row["exploratory_value"] == pytest.approx(np.mean(GAIN))
    assert row["confirmed_value"] == pytest.approx(np.mean(now))
    assert np.isnan(row["confirmed_p"])


def test_a_rule_is_read_with_its_filters(tables):
    """Text alone would stand for two conditions."""
    spec = {"expect": [{"rule": "baseline >= 2", "where": {"state": "trained"}}]}
    (row,) = confirmed(tables, spec, (GAIN,), (GAIN,))
    assert row["verdict"] == "contradicted"


@pytest.mark.parametrize("now", [(*GAIN[:4], "failed"), (*LOSS[:4], "failed")])
def test_a_lost_seed_leaves_a_rule_open(tables, now):
    (row,) = confirmed(tables, {"expect": ["trained - baseline >= 0"]}, (GAIN,), (now,))
    assert (row["verdict"], row["confirmed_n"]) == ("not confirmed", 4)
    assert row["problem"] == "4 of 5 seeds have a value"


def test_without_spread_there_is_no_interval(tables):
    (row,) = confirmed(tables, {"expect": ["trained >= 0"]}, (GAIN,), (GAIN,))
    assert row["verdict"] == "confirmed"
    even = tuple(0.7 - b for b in BASELINE)
    (row,) = confirmed(tables, {"expect": ["trained >= 0"]}, (GAIN,), (even,))
    assert (row["verdict"], row["problem"]) == (
        "not confirmed",
        "no interval: 5 seeds without any spread",
    )


def test_what_has_no_value_says_why(tables):
    spec = {"expect": ["trained.noise >= 0"], "confirm": ["trained"]}
    rows = confirmed(tables, spec, (GAIN,), (("failed",) * 5,))
    assert [row["verdict"] for row in rows] == ["not confirmed", "not confirmed"]
    assert rows[0]["problem"].startswith("trained.noise: no condition of the study")


def test_rows_have_the_difference_and_a_family_of_their_own(tables, tasks):
    spec = {"confirm": ["trained", {"row": "untrained", "claim": "the architecture helps"}]}
    gains = (GAIN, (0.02, 0.05, 0.01, 0.04, 0.02))
    one, two = confirmed(tables, spec, gains, gains)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(GAIN), scale=stats.sem(GAIN))
    assert one["confirmed_value"] == pytest.approx(np.mean(GAIN))
    assert (one["confirmed_low"], one["confirmed_high"]) == pytest.approx((low, high))
    p = [stats.ttest_1samp(each, 0).pvalue for each in gains]
    adjusted = stats.false_discovery_control(p)
    assert [one["confirmed_p"], two["confirmed_p"]] == pytest.approx(adjusted)
    assert (two["claim"], two["statement"], two["metric"]) == (
        "the architecture helps",
        "untrained",
        "accuracy",
    )


@pytest.mark.parametrize(
    ("before", "now", "asked", "verdict"),
    [
        (GAIN, GAIN, "helps, guide-specific", "confirmed"),
        (GAIN, NOISE, "helps, guide-specific", "not confirmed"),
        (GAIN, LOSS, "helps, guide-specific", "contradicted"),
        (NOISE, GAIN, "helps, specificity not established", "confirmed"),
        (NOISE, NOISE, "helps, specificity not established", "not confirmed"),
        (NOISE, LOSS, "helps, specificity not established", "contradicted"),
        (LOSS, LOSS, "hurts", "confirmed"),
        (LOSS, GAIN, "hurts", "contradicted"),
    ],
)
def test_a_row_is_asked_for_its_verdict(tables, before, now, asked, verdict):
    (row,) = confirmed(tables, {"confirm": ["trained"]}, (before,), (now,))
    assert (row["asked"], row["verdict"]) == (asked, verdict)


SPECIFIC, HELPS = "helps, guide-specific", "helps, specificity not established"
PRIOR = "helps, prior-specific"
STEPS = " at equal steps only"
NO_MORE, NO_EFFECT = "no more than input (within margin)", "no effect (within margin)"


@pytest.mark.parametrize(
    ("before", "now", "interval", "verdict"),
    [
        (SPECIFIC, HELPS, (0.02, 0.04), "not confirmed"),
        (SPECIFIC, NO_MORE, (0.02, 0.04), "contradicted"),
        (HELPS, SPECIFIC, (0.02, 0.04), "confirmed"),
        (HELPS, NO_MORE, (0.02, 0.04), "confirmed"),
        (HELPS, NO_EFFECT, (-0.001, 0.002), "contradicted"),
        (NO_MORE, NO_MORE, (0.02, 0.04), "confirmed"),
        (NO_MORE, HELPS, (0.02, 0.04), "not confirmed"),
        (NO_MORE, SPECIFIC, (0.02, 0.04), "contradicted"),
        (NO_EFFECT, NO_EFFECT, (-0.001, 0.002), "confirmed"),
        (NO_EFFECT, HELPS, (0.005, 0.02), "not confirmed"),
        (NO_EFFECT, HELPS, (0.015, 0.02), "contradicted"),
        (NO_EFFECT, "hurts", (-0.03, -0.015), "contradicted"),
        (NO_EFFECT, "not established", (-0.03, 0.03), "not confirmed"),
        ("hurts", NO_EFFECT, (-0.002, 0.001), "contradicted"),
        (SPECIFIC, SPECIFIC + STEPS, (0.02, 0.04), "not confirmed"),
        (SPECIFIC + STEPS, SPECIFIC, (0.02, 0.04), "confirmed"),
        (SPECIFIC + STEPS, SPECIFIC + STEPS, (0.02, 0.04), "confirmed"),
        (HELPS + STEPS, SPECIFIC + STEPS, (0.02, 0.04), "confirmed"),
        (HELPS, SPECIFIC + STEPS, (0.02, 0.04), "not confirmed"),
        (SPECIFIC + STEPS, "hurts", (-0.04, -0.02), "contradicted"),
        ("hurts", HELPS + STEPS, (0.02, 0.04), "contradicted"),
        # Those of rivals.
        ("not established", "helps", (0.02, 0.04), "confirmed"),
        ("helps", "helps", (0.02, 0.04), "confirmed"),
        ("helps", "hurts", (-0.04, -0.02), "contradicted"),
        ("hurts", "helps", (0.02, 0.04), "contradicted"),
        ("helps", PRIOR, (0.02, 0.04), "confirmed"),
        (PRIOR, "helps", (0.02, 0.04), "not confirmed"),
        (PRIOR, NO_MORE.replace("input", "permuted"), (0.02, 0.04), "contradicted"),
        (NO_MORE.replace("input", "permuted"), PRIOR, (0.02, 0.04), "contradicted"),
        (PRIOR, NO_EFFECT, (-0.001, 0.002), "contradicted"),
        (NO_EFFECT, PRIOR, (0.015, 0.02), "contradicted"),
    ],
)
def test_verdicts_of_rows_exclude_each_other(before, now, interval, verdict):
    row = {
        "place": "confirm[0]", "statement": "trained", "claim": None, "metric": "accuracy",
        "value": sum(interval) / 2, "low": interval[0], "high": interval[1], "n": 5, "p": 0.01,
        "margin": 0.01, "problem": None,
    }  # fmt: skip
    frame = confirm_table(
        [row | {"verdict": before}], [row | {"verdict": now}],
        study="a", confirmation="a-confirm", attempt=2, num_seeds=5,
    )  # fmt: skip
    assert frame["verdict"].tolist() == [verdict]
    assert frame["attempt"].tolist() == [2]
