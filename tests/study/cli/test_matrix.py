"""The transfer matrix as a person sees it: verdicts whole, and what stands behind them."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.schema import frame_of, schema
from study.cli.matrix import print_matrix

ROW = {
    "study": "toy", "task": "digits", "target": "fcn", "guide": "cnn", "state": "trained",
    "control": "none", "distance": "linear_cka", "mapping": "evenly_spaced",
    "schedule": "alpha=1", "alpha": 1.0, "metric": "accuracy", "higher_is_better": True,
    "primary": True, "tuned": False, "n": 5, "n_failed": 0, "n_failed_baseline": 0,
    "n_failed_guided": 0,
    "baseline": 0.5, "guided": 0.7, "shuffled": 0.45, "difference": 0.2, "difference_low": 0.1,
    "difference_high": 0.3, "verdict": "helps, specificity not established",
}  # fmt: skip
LONGEST = "no more than class_shuffled (within margin)"


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    def lines_of(*rows: dict[str, Any]) -> list[str]:
        print_matrix(frame_of([{**ROW, **row} for row in rows], schema("transfer")))
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    return lines_of


def line_with(lines: list[str], *words: str) -> str:
    (line,) = [line for line in lines if all(word in line for word in words)]
    return line


def test_the_primary_metric_is_named_and_alone(printed: Any) -> None:
    lines = printed({}, {"metric": "loss", "primary": False, "verdict": "descriptive: hurts"})
    assert lines[0].endswith("(primary metric: test accuracy)")
    assert not any("descriptive" in line for line in lines)


def test_verdicts_are_whole(printed: Any) -> None:
    long = {"control": "none", "schedule": "alpha=0.25,stop=1200,warmup=10", "verdict": LONGEST}
    lines = printed({"labels": 0.6}, long)
    assert line_with(lines, "0.600").endswith("helps, specificity not established")
    assert line_with(lines, "warmup=10").endswith(LONGEST)


@pytest.mark.parametrize("columns", [20, 80, 120, 300])
def test_verdicts_are_whole_on_a_narrow_terminal(
    printed: Any, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    for name, value in (("COLUMNS", columns), ("TTY_COMPATIBLE", 1), ("NO_COLOR", 1)):
        monkeypatch.setenv(name, str(value))
    lines = printed({"labels": 0.6, "verdict": LONGEST})
    assert line_with(lines, "0.700", LONGEST)
    # The controls' levels, which have rows of their own, make room.
    assert any("0.600" in line for line in lines) == (columns == 300)


def test_labels_have_a_column_where_there_are_any(printed: Any) -> None:
    assert "labels" not in " ".join(printed({})[:4])
    assert "labels" in " ".join(printed({"labels": 0.6})[:4])


def test_notes_say_what_stands_behind_a_verdict(printed: Any) -> None:
    failed = {
        "n_failed_guided": 1, "n_failed_baseline": 2, "difference_worst": 0.05,
        "difference_worst_low": -0.2, "difference_worst_high": 0.3,
    }  # fmt: skip
    disagree = {
        "seeds_disagree": True, "guided_success": 0.8, "baseline_success": 0.4,
        "success_threshold": 0.18,
    }  # fmt: skip
    missing = {"missing_controls": "labels (not planned)", "uncompared_controls": "self (2 pairs"}
    lines = printed({**failed, **disagree, **missing}, {"schedule": "alpha=5", **missing})
    assert line_with(lines, "1 guided and 2 unguided seeds failed").endswith(
        "the difference at worst is +0.050 (-0.200 .. +0.300)"
    )
    assert line_with(lines, "80% of guided and 40% of unguided", "better than 0.180")
    # One line for all rows of a guide that lack the same.
    assert line_with(lines, "trained: specificity needs labels (not planned)")
    assert line_with(lines, "trained: not compared self (2 pairs")


def test_an_unknown_chance_is_no_number(printed: Any) -> None:
    assert line_with(printed({"n_failed_guided": 1}), "not known, as chance is not")


def test_controls_have_no_notes(printed: Any) -> None:
    control = {"control": "shuffled", "verdict": "control", "n_failed_guided": 3}
    assert not any("failed" in line for line in printed(control))


def test_other_baselines_are_noted(printed: Any) -> None:
    assert not any("at equal compute" in line or "best" in line for line in printed({}))
    matched = {"baseline_matched": 0.68, "difference_matched": 0.02, "matched_n": 5}
    matched |= {"difference_matched_low": -0.01, "difference_matched_high": 0.05}
    best = {"baseline_best": 0.52, "guided_best": 0.71, "difference_best": 0.19}
    lines = printed({**matched, **best, "verdict": f"{ROW['verdict']} at equal steps only"})
    assert line_with(lines, "0.450").endswith("at equal steps only")
    assert line_with(lines, "at equal compute unguided 0.680").endswith(
        "difference +0.020 (-0.010 .. +0.050)"
    )
    assert line_with(lines, "best validation").endswith(
        "unguided 0.520, guided 0.710, difference +0.190"
    )
