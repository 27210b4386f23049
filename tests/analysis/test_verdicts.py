"""Verdicts: the rules on intervals, failed seeds, controls and margins, one by one."""

from __future__ import annotations

import pytest

from analysis.cells import Cell, Condition, Member, Metric
from analysis.statistics import PairedDifference
from analysis.verdicts import (
    Evidence,
    Kind,
    adjusted,
    kind,
    missing_controls,
    no_more_than,
    uncompared_controls,
    verdict,
)


def over(low, high, n=5):
    """A difference whose standard error is that of the interval, nearly."""
    error = (high - low) / 5.552
    return PairedDifference(n=n, mean=(low + high) / 2, standard_error=error, low=low, high=high)


UP, AROUND, DOWN = over(0.1, 0.2), over(-0.1, 0.2), over(-0.2, -0.1)
NOTHING, ONE = PairedDifference(n=0), PairedDifference(n=1, mean=0.5)


def verdict_of(difference, specifics=None, **more):
    specifics = {"shuffled": UP} if specifics is None else specifics
    with_failed = {"worst": difference, "best": difference}
    return verdict(
        Evidence(**{"difference": difference, "specifics": specifics, **with_failed, **more})
    )


@pytest.mark.parametrize(
    ("difference", "specifics", "expected"),
    [
        (UP, {"shuffled": UP, "input": UP}, "helps, guide-specific"),
        (UP, {"shuffled": UP, "input": AROUND}, "helps, specificity not established"),
        (UP, {"shuffled": DOWN, "input": UP}, "helps, specificity not established"),
        (UP, {"shuffled": ONE}, "helps, specificity not established"),
        (UP, {"shuffled": UP, "input": NOTHING}, "helps, specificity not established"),
        (UP, {}, "helps, specificity not established"),
        (DOWN, {"shuffled": UP}, "hurts"),
        (AROUND, {"shuffled": UP}, "not established"),
        (ONE, {"shuffled": UP}, "not established"),
        (NOTHING, {}, "not established"),
        (over(0.0, 0.2), {"shuffled": UP}, "not established"),
    ],
)
def test_intervals_decide(difference, specifics, expected):
    assert verdict_of(difference, specifics) == expected


def test_a_missing_control_leaves_specificity_open():
    found = verdict_of(UP, {"shuffled": UP}, missing=["labels (not planned)"])
    assert found == "helps, specificity not established"


@pytest.mark.parametrize(
    ("num_failed", "worst", "expected"),
    [
        (0, UP, "helps, guide-specific"),
        (1, UP, "helps, guide-specific"),
        (1, AROUND, "not established"),
        (1, NOTHING, "not established"),
    ],
)
def test_failures_must_not_undo_the_help(num_failed, worst, expected):
    assert verdict_of(UP, num_failed=num_failed, worst=worst) == expected


@pytest.mark.parametrize(
    ("num_failed", "best", "expected"),
    [(0, DOWN, "hurts"), (2, DOWN, "hurts"), (2, AROUND, "not established"),
     (2, UP, "not established"), (1, NOTHING, "not established")],
)  # fmt: skip
def test_failures_must_not_undo_the_harm(num_failed, best, expected):
    assert verdict_of(DOWN, num_failed=num_failed, best=best) == expected


SMALL = over(-0.002, 0.004)


def test_no_effect_needs_a_margin():
    assert verdict_of(SMALL) == "not established"
    assert verdict_of(SMALL, margin=0.01) == "no effect (within margin)"
    assert verdict_of(AROUND, margin=0.01) == "not established"


def test_an_effect_smaller_than_the_margin_is_none():
    assert verdict_of(over(0.002, 0.004), margin=0.01) == "no effect (within margin)"
    assert verdict_of(over(-0.004, -0.002), margin=0.01) == "no effect (within margin)"
    assert verdict_of(over(0.002, 0.004)) == "helps, guide-specific"
    assert verdict_of(UP, margin=0.01) == "helps, guide-specific"


def test_a_failed_seed_is_an_effect():
    assert verdict_of(SMALL, margin=0.01, num_failed=1) == "not established"


@pytest.mark.parametrize(
    ("specifics", "expected"),
    [
        ({"shuffled": UP, "labels": SMALL}, "no more than labels (within margin)"),
        ({"shuffled": UP, "labels": DOWN}, "no more than labels (within margin)"),
        ({"input": SMALL, "labels": DOWN}, "no more than labels (within margin)"),
        ({"shuffled": UP, "labels": AROUND}, "helps, specificity not established"),
        ({"shuffled": UP, "labels": over(-0.002, 0.004, n=4)}, "helps, specificity not establish"),
        ({"shuffled": UP}, "helps, guide-specific"),
    ],
)
def test_no_more_than_a_control(specifics, expected):
    assert verdict_of(UP, specifics, margin=0.01).startswith(expected)
    assert "margin" not in verdict_of(UP, specifics)


@pytest.mark.parametrize(
    ("found", "p_adjusted", "expected"),
    [
        ("helps, guide-specific", 0.049, "helps, guide-specific"),
        ("helps, guide-specific", 0.05, "not established"),
        ("hurts", 0.2, "not established"),
        ("no more than input (within margin)", 0.2, "not established"),
        ("no effect (within margin)", 0.2, "no effect (within margin)"),
        ("not established", 0.01, "not established"),
        ("not established", float("nan"), "not established"),
    ],
)
def test_adjusted_verdicts_need_a_small_adjusted_p(found, p_adjusted, expected):
    assert adjusted(found, p_adjusted) == expected


def cell(control, num_pairs=4, seeds=(0, 1, 2), required=()):
    condition = Condition(
        study="s", task="t", target="fcn", treatment="guidance", guide="cnn", state="trained",
    control=control,
        distance="linear_cka", mapping="all", schedule="alpha=1", alpha=1.0, stop_step=None,
    )  # fmt: skip
    members = {f"b{k}": Member(f"{control}{k}", f"b{k}", None) for k in seeds}
    return Cell(
        condition=condition, num_pairs=num_pairs, members=members, required_controls=required
    )


def metric(*unfinished):
    names = [f"{arm}{k}" for k in range(3) for arm in ("b", "none", "input", "labels", "self")]
    values = {name: 0.5 for name in names if name not in unfinished}
    return Metric(name="accuracy", higher_is_better=True, values=values)


GUIDED = cell("none", required=("input", "labels"))


@pytest.mark.parametrize(
    ("controls", "unfinished", "expected"),
    [
        ([cell("input"), cell("labels", 1)], (), []),
        ([cell("input")], (), ["labels (not planned)"]),
        ([], (), ["input (not planned)", "labels (not planned)"]),
        ([cell("input"), cell("labels", 1)], ("labels2",), ["labels (2 of 3 seeds)"]),
        ([cell("input"), cell("labels", 1)], ("labels2", "none2"), []),
        ([cell("input"), cell("labels", 1)], ("labels2", "b2"), []),
        ([cell("input"), cell("labels", 1, (0, 1))], (), ["labels (2 of 3 seeds)"]),
        ([cell("input", 3), cell("labels", 1)], (), ["input (3 pairs against 4)"]),
        ([cell("input"), cell("labels"), cell("self")], ("self0",), ["self (2 of 3 seeds)"]),
        ([cell("input"), cell("labels"), cell("self", 2)], ("self0",), []),
    ],
)
def test_controls_that_are_missing_are_named(controls, unfinished, expected):
    assert missing_controls(GUIDED, controls, metric(*unfinished)) == expected


def test_controls_with_other_pairs_are_named_but_for_labels_at_the_last():
    controls = [cell("self", 2), cell("labels", 1), cell("labels(at=all)", 3), cell("input")]
    found = uncompared_controls(GUIDED, controls)
    assert found == ["self (2 pairs against 4)", "labels(at=all) (3 pairs against 4)"]
    assert list(metric().specifics(GUIDED, controls)) == ["labels", "input"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("helps, guide-specific", Kind.specific),
        ("helps, guide-specific at equal steps only", Kind.specific),
        ("descriptive: helps, specificity not established", Kind.helps),
        ("no more than labels(at=all) (within margin)", Kind.no_more),
        ("descriptive: no more than input (within margin)", Kind.no_more),
        ("no effect (within margin)", Kind.no_effect),
        ("hurts", Kind.hurts),
        ("not established", Kind.open),
        ("control", Kind.control),
    ],
)
def test_kinds_of_verdicts(found, expected):
    assert kind(found) == expected


def test_the_control_of_no_more():
    assert no_more_than("no more than labels(at=all) (within margin)") == "labels(at=all)"
    assert no_more_than("helps, guide-specific") is None
    with pytest.raises(ValueError, match="'no more than labels' is no verdict"):
        kind("no more than labels")
