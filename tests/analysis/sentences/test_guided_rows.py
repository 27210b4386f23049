"""A sentence for every verdict on a guided row, and no more in it than the verdict holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.sentences import sentence, sentences

ROW: dict[str, Any] = {
    "study": "toy", "task": "digits", "target": "fcn", "guide": "resnet2d", "state": "trained",
    "control": "none", "distance": "linear_cka", "mapping": "evenly_spaced",
    "schedule": "alpha=1", "metric": "accuracy", "higher_is_better": True, "primary": True,
    "tuned": False, "n": 5, "n_failed": 0, "n_failed_baseline": 0, "n_failed_guided": 0,
    "baseline": 0.802, "guided": 0.836, "difference": 0.034, "difference_low": 0.015,
    "difference_high": 0.054, "verdict": "helps, specificity not established",
}  # fmt: skip
LABELS = {
    "labels": 0.856, "specific_control": "labels", "specific_n": 5, "specific": -0.02,
    "specific_low": -0.031, "specific_high": -0.009,
}  # fmt: skip
GAIN = "The trained resnet2d lifts the fcn by 3.4 points [1.5, 5.4] over 5 seeds; "


def said(*changes: dict[str, Any], **more: Any) -> str:
    row = dict(ROW)
    for change in (*changes, more):
        row |= change
    return sentence(row)


def over(column: str, mean: float, low: float | None = None, high: float | None = None) -> dict:
    return {column: mean, f"{column}_low": low, f"{column}_high": high}


def test_a_gain_that_a_control_surely_exceeds_is_not_the_guides() -> None:
    assert said(LABELS) == (
        f"{GAIN}labels alone by 5.4 (2.0 points [0.9, 3.1] more): not the guide's."
    )


@pytest.mark.parametrize(
    ("specific", "expected"),
    [
        ((-0.02, -0.045, 0.005), "labels alone by 5.4 (2.0 points [-0.5, 4.5] more)"),
        ((0.01, -0.005, 0.025), "labels alone by 2.4 (1.0 points [-0.5, 2.5] less)"),
        ((-0.02, None, None), "labels alone by 5.4 (2.0 points more)"),
        ((0.044, -0.01, 0.1), "labels alone cost 1.0 (4.4 points [-1.0, 10.0] less)"),
        ((0.034, -0.01, 0.1), "labels alone by 0.0 (3.4 points [-1.0, 10.0] less)"),
    ],
)
def test_a_gain_that_a_control_may_share_is_not_shown_to_be_the_guides(specific, expected) -> None:
    found = said(LABELS, over("specific", *specific))
    assert found == f"{GAIN}{expected}: not shown to be the guide's."


def test_a_control_at_other_seeds_has_no_gain_to_compare_with() -> None:
    found = said(LABELS, over("specific", -0.02), specific_n=2)
    assert found == (
        f"{GAIN}labels alone (2.0 points more over 2 seeds): not shown to be the guide's."
    )


def test_a_gain_beyond_every_control_is_the_guides() -> None:
    found = said(
        over("specific", 0.015, 0.008, 0.021),
        specific_control="input", specific_n=5, verdict="helps, guide-specific",
    )  # fmt: skip
    assert found == (
        f"{GAIN}1.5 points [0.8, 2.1] more than the input alone, the least surely beaten of the "
        "controls it was compared with: the guide's."
    )


def test_missing_controls_leave_it_open() -> None:
    missing = "labels (not planned)"
    unknown = f"{GAIN}whether that is the guide's is open, "
    beaten = over("specific", 0.015, 0.008, 0.021) | {"specific_control": "input"}
    assert said(missing_controls=missing) == f"{unknown}for want of controls: {missing}."
    assert said(beaten, missing_controls=missing) == f"{unknown}for want of controls: {missing}."
    assert said() == f"{unknown}as no control was run."
    assert said(beaten) == f"{unknown}as a control has no interval."


@pytest.mark.parametrize("control", ["labels", "labels(at=all)", "noise"])
def test_no_more_than_a_control_within_the_margin(control: str) -> None:
    verdict = f"no more than {control} (within margin)"
    found = said(verdict=verdict, margin=0.01, labels=0.83, labels_all=0.79)
    beside = {
        "labels": "labels alone by 2.8",
        "labels(at=all)": "labels at all pairs cost 1.2",
        "noise": "the guide on noise",
    }
    assert found == (
        f"{GAIN}{beside[control]}, and what the guide has over that is less than the margin of "
        "1 point: not the guide's."
    )


def test_no_effect_is_said_within_the_margin_alone() -> None:
    found = said(
        over("difference", 0.001, -0.002, 0.004), verdict="no effect (within margin)", margin=0.005
    )
    assert found == (
        "The trained resnet2d makes no difference to the fcn as large as the margin of 0.5 points: "
        "+0.1 points [-0.2, 0.4] over 5 seeds."
    )


def test_harm() -> None:
    found = said(over("difference", -0.029, -0.045, -0.013), verdict="hurts")
    assert found == "The trained resnet2d costs the fcn 2.9 points [1.3, 4.5] over 5 seeds."


OPEN = {"verdict": "not established"}
UNSURE = OPEN | over("difference", 0.005, -0.008, 0.018)


def test_what_is_not_established_is_not_denied() -> None:
    begin = "An effect of the trained resnet2d on the fcn is not established: "
    assert said(UNSURE) == f"{begin}+0.5 points [-0.8, 1.8] over 5 seeds."
    assert said(UNSURE, margin=0.01, tost_p=0.2) == (
        f"{begin}+0.5 points [-0.8, 1.8] over 5 seeds; whether it is as large as the margin of "
        "1 point is open, too."
    )
    assert said(OPEN, over("difference", 0.034), n=1) == (
        f"{begin}+3.4 points over 1 seed, too few for an interval."
    )
    assert said(OPEN, over("difference", 0.0)) == (
        f"{begin}0.0 points over 5 seeds, all the same, which gives no interval."
    )
    assert said(OPEN, over("difference", np.nan), n=0, n_failed=5) == (
        "Nothing is known yet of the trained resnet2d and the fcn: no seed has both results. "
        "5 seeds have not ended."
    )


FAILED = {"n": 3, "n_failed": 2, "n_failed_guided": 1, "n_failed_baseline": 1}
LOST = "1 of 5 guided seeds failed and 1 of 5 unguided seeds failed"


def test_failed_seeds_undo_a_gain() -> None:
    gain = "The trained resnet2d lifts the fcn by 3.4 points [1.5, 5.4] over 3 seeds, but "
    worst = over("difference_worst", 0.01, -0.03, 0.05)
    assert said(OPEN, FAILED, worst) == (
        f"{gain}{LOST}, and at worst the difference is +1.0 points [-3.0, 5.0]: not established."
    )
    assert said(OPEN, FAILED) == (
        f"{gain}{LOST}, and what that costs is not known, as chance is not: not established."
    )


def test_failed_seeds_stand_beside_every_other_verdict() -> None:
    worst = over("difference_worst", 0.02, 0.01, 0.03)
    assert said(LABELS, FAILED, worst).endswith(
        f"not the guide's. {LOST}; at worst it is still +2.0 points [1.0, 3.0]."
    )
    harm = over("difference", -0.029, -0.045, -0.013) | {"verdict": "hurts"}
    assert said(harm, FAILED).endswith(f"over 3 seeds. {LOST}.")
    assert said(UNSURE, FAILED, n_failed=3).endswith(
        "1 of 6 guided seeds failed and 1 of 6 unguided seeds failed. 1 more seed has not ended."
    )


def test_equal_compute() -> None:
    def matched(*difference: float | None, suffix: str = " at equal steps only") -> str:
        found = said(
            LABELS, over("difference_matched", *difference), verdict=f"{ROW['verdict']}{suffix}"
        )
        return found.removeprefix(f"{said(LABELS)} ")

    assert matched(0.012, -0.006, 0.031) == (
        "At equal compute this is not established: +1.2 points [-0.6, 3.1]."
    )
    assert matched(-0.02, -0.03, -0.01) == (
        "With as much compute the target alone does better: -2.0 points [-3.0, -1.0]."
    )
    assert matched(None) == (
        "Whether it does at equal compute is open: the matched baseline has no result."
    )
    assert matched(0.02, 0.01, 0.03, suffix="") == (
        "At equal compute it is +2.0 points [1.0, 3.0]."
    )


def test_reservations() -> None:
    disagree = {"seeds_disagree": True, "guided_success": 0.8, "baseline_success": 0.4}
    assert said(LABELS, disagree).endswith(
        "Seeds disagree: 80% of guided and 40% of unguided seeds learn, so the interval is too "
        "narrow."
    )
    adjusted = {"verdict_adjusted": "not established", "p_adjusted": 0.0831}
    assert said(LABELS, adjusted).endswith(
        "Among all rows that were tested this is not established (adjusted p 0.083)."
    )
    assert "tested" not in said(LABELS, adjusted | {"verdict_adjusted": ROW["verdict"]})
    assert "tested" not in said(UNSURE, adjusted)


def test_why_there_may_be_no_effect() -> None:
    assert said(UNSURE, at_ceiling=True).endswith(
        "The guide's architecture, trained alone, is no better than the target alone."
    )
    assert said(UNSURE, distance_start=0.5, distance_end=0.6123).endswith(
        "The distance did not fall (0.5 to 0.612): guidance was hardly at work."
    )
    assert said(UNSURE, distance_start=0.5, distance_end=0.4, at_ceiling=False) == said(UNSURE)
    assert "distance" not in said(LABELS, distance_start=0.5, distance_end=0.6)


LOSS = {"metric": "loss", "higher_is_better": False, "baseline": 0.9, "guided": 0.78}


def test_lower_is_better() -> None:
    better, worse = (0.12, 0.051, 0.189), (-0.12, -0.189, -0.051)
    beside = {"labels": 0.7, "specific_control": "labels", "specific_n": 5}
    beside |= over("specific", -0.08, -0.1, -0.06)
    assert said(LOSS, over("difference", *better), beside) == (
        "The trained resnet2d lowers the loss of the fcn by 0.120 [0.051, 0.189] over 5 seeds; "
        "labels alone by 0.200 (0.080 [0.060, 0.100] more): not the guide's."
    )
    assert said(LOSS, over("difference", *better), beside, over("specific", 0.2, -0.1, 0.5)) == (
        "The trained resnet2d lowers the loss of the fcn by 0.120 [0.051, 0.189] over 5 seeds; "
        "labels alone add 0.0800 (0.200 [-0.100, 0.500] less): not shown to be the guide's."
    )
    assert said(LOSS, over("difference", *worse), verdict="hurts") == (
        "The trained resnet2d raises the loss of the fcn by 0.120 [0.051, 0.189] over 5 seeds."
    )
    assert said(LOSS, over("difference", 0.01, -0.02, 0.04), OPEN) == (
        "An effect of the trained resnet2d on the loss of the fcn is not established: "
        "+0.0100 [-0.0200, 0.0400] (positive is better) over 5 seeds."
    )


def test_another_metric_where_higher_is_better() -> None:
    other = {"metric": "top5_accuracy", **over("difference", -0.02, -0.03, -0.01)}
    assert said(other, verdict="hurts").startswith(
        "The trained resnet2d lowers the top5_accuracy of the fcn by 2.0 points [1.0, 3.0]"
    )
    assert said(other, over("difference", 0.02, 0.01, 0.03)).startswith(
        "The trained resnet2d lifts the top5_accuracy of the fcn by 2.0 points [1.0, 3.0]"
    )


def test_descriptive_and_tuned_rows_say_so() -> None:
    assert said(LOSS, UNSURE, verdict="descriptive: not established").startswith(
        "Descriptive, of loss: an effect of the trained resnet2d on the loss of the fcn is not"
    )
    assert said(LABELS, tuned=True, budget=16).startswith(
        "Both sides tuned with 16 trials: the trained resnet2d lifts"
    )


@pytest.mark.parametrize(
    ("control", "state", "expected"),
    [
        ("labels", None, "Control: labels alone, +3.4 points [1.5, 5.4] over 5 seeds."),
        ("odd", "trained", "Control: the control odd, +3.4 points [1.5, 5.4] over 5 seeds."),
    ],
)
def test_rows_of_controls_are_no_claims(control: str, state: str | None, expected: str) -> None:
    assert said(control=control, state=state, verdict="control") == expected
    assert said(control=control, verdict="control", n=0).startswith("Control: nothing is known yet")


def test_untrained_guides_and_those_without_a_state() -> None:
    assert said(LABELS, state="untrained").startswith("The untrained resnet2d lifts")
    assert said(LABELS, state=None).startswith("The resnet2d lifts")


def test_words_that_are_no_verdict_are_refused() -> None:
    with pytest.raises(ValueError, match="'helps a lot' is no verdict"):
        said(verdict="helps a lot")


def test_labels_are_text_as_they_are() -> None:
    name = '<script>alert("x")</script>'
    assert f"lifts the {name} by" in said(LABELS, target=name)


def test_missing_values_of_pandas_count_as_missing() -> None:
    row = ROW | LABELS | {"verdict_adjusted": "not established", "p_adjusted": pd.NA}
    row |= {"margin": np.nan, "seeds_disagree": pd.NA, "missing_controls": None, "tost_p": pd.NaT}
    assert sentence(pd.Series(row)) == sentence(
        ROW | LABELS | {"verdict_adjusted": OPEN["verdict"]}
    )


def test_what_varies_among_rows_is_named() -> None:
    rows = [ROW, ROW | {"schedule": "alpha=5,stop=200"}, ROW | {"distance": "rsa"}]
    first, second, third = sentences(rows)
    assert first.startswith("With linear_cka, at alpha=1: the trained resnet2d lifts")
    assert second.startswith("With linear_cka, at alpha=5,stop=200: the trained resnet2d lifts")
    assert third.startswith("With rsa, at alpha=1: the trained")
    assert sentences([ROW, ROW | {"state": "untrained"}])[0] == sentence(ROW)
    # A schedule that is the same wherever its task is tells nothing apart.
    other = ROW | {"task": "text", "schedule": "alpha=5", "distance": "rsa"}
    assert [each.partition(" lifts ")[0] for each in sentences([ROW, other])] == [
        "On digits: the trained resnet2d",
        "On text: the trained resnet2d",
    ]
    answers = ROW | {"distance": None, "mapping": None}
    assert sentences([ROW, answers])[1].startswith("The trained resnet2d lifts")
    assert sentences([]) == []
    assert sentence(ROW, named=["task"]).startswith("On digits: the trained")
