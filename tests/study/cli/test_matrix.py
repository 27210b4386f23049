"""The transfer matrix as a person sees it: verdicts whole, and what stands behind them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from analysis.schema import frame_of, schema
from study.cli.matrix import print_matrix, print_sentences

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


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A terminal of some columns."""

    def of(columns: int, *, color: bool = False) -> None:
        monkeypatch.delenv("NO_COLOR", raising=False)
        variables = {"COLUMNS": columns, "TTY_COMPATIBLE": 1, "TERM": "xterm-256color"}
        for name, value in (variables if color else {**variables, "NO_COLOR": 1}).items():
            monkeypatch.setenv(name, str(value))

    return of


def plain(lines: list[str]) -> list[str]:
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in lines]


def words_of(lines: list[str]) -> str:
    return " ".join(" ".join(plain(lines)).split())


@pytest.mark.parametrize("columns", [20, 60, 80, 100, 120, 150, 200, 300])
def test_nothing_is_cut_on_a_terminal_of_any_width(
    printed: Any, terminal: Any, columns: int
) -> None:
    terminal(columns)
    rows = ({"labels": 0.6, "verdict": LONGEST}, {"state": "untrained", "schedule": "alpha=5"})
    lines = printed(*rows, {"control": "class_shuffled", "guided": 0.55, "verdict": "control"})
    assert not any("\u2026" in line for line in lines)
    assert columns < 60 or all(len(line) <= columns for line in plain(lines))
    for text in ("0.700", "+0.100", "+0.300", "0.550", "trained, class_shuffled", "alpha=5"):
        assert text in words_of(lines), text
    # A verdict that is wrapped stands in a column of its own, beside numbers.
    for word in f"{LONGEST} {ROW['verdict']}".split():
        assert word in words_of(lines)
    # The controls' levels, which have rows of their own, make room.
    assert any("0.600" in line for line in lines) == (columns >= 150)


@pytest.mark.parametrize("columns", [70, 80])
def test_a_narrow_terminal_has_label_and_verdict_above_the_numbers(
    printed: Any, terminal: Any, columns: int
) -> None:
    terminal(columns)
    lines = printed({"verdict": LONGEST}, {"schedule": "alpha=5"})
    at = lines.index(f" trained, alpha=1: {LONGEST}")
    assert lines[at + 1].split() == ["5", "0.500", "0.700", "+0.200", "+0.100", "..", "+0.300"]
    assert lines[at + 2] == f" trained, alpha=5: {ROW['verdict']}"


def test_verdicts_have_colours_where_the_terminal_has_them(printed: Any, terminal: Any) -> None:
    terminal(200, color=True)
    hurts = {"schedule": "alpha=9", "verdict": "hurts"}
    assert any("\x1b[31mhurts" in line for line in printed(hurts))
    terminal(200)
    assert not any("\x1b[3" in line for line in printed(hurts))


def test_labels_are_no_markup(printed: Any) -> None:
    lines = printed({"target": "fcn[red]", "schedule": "[bold]alpha=1", "state": "[link]"})
    assert "fcn[red]" in lines[0]
    assert line_with(lines, "[bold]alpha=1", "[link]")


def test_many_guides_share_a_table_without_their_controls(printed: Any) -> None:
    rows = [
        {"guide": f"cnn{number:02}", "verdict": verdict, "control": control}
        for number in range(40)
        for control, verdict in (("none", "hurts"), ("shuffled", "control"))
    ]
    lines = printed(*rows)
    assert sum("(primary metric" in line for line in lines) == 1
    assert line_with(lines, "cnn39").endswith("hurts")
    assert not any("shuffled, " in line or line.endswith("control") for line in lines)


def test_very_many_rows_are_counted(printed: Any) -> None:
    lines = printed(
        *({"guide": f"g{g}", "target": f"fcn{t}", "verdict": v}
          for g in range(40) for t, v in enumerate(("hurts", "not established", LONGEST, "hurts")))
    )  # fmt: skip
    assert line_with(lines, "fcn1").split() == ["digits", "fcn1", "40", "0", "0", "40"]
    assert line_with(lines, "160 guided rows")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    def lines_of(*rows: dict[str, Any]) -> list[str]:
        print_sentences(frame_of([{**ROW, **row} for row in rows], schema("transfer")))
        return [line.rstrip() for line in capsys.readouterr().out.splitlines()]

    return lines_of


def test_guided_rows_are_said_in_sentences(said: Any, terminal: Any) -> None:
    open_row = {"state": "untrained", "verdict": "not established", "difference_low": -0.1}
    control = {"control": "shuffled", "verdict": "control"}
    loss = {"metric": "loss", "primary": False, "verdict": "descriptive: hurts"}
    lines = said({}, open_row, control, loss)
    assert [line.split(" by ")[0].split(" is ")[0] for line in lines] == [
        "- The trained cnn lifts the fcn",
        "- An effect of the untrained cnn on the fcn",
    ]
    terminal(60)
    wrapped = said({})
    assert len(wrapped) > 1
    assert all(len(line) <= 60 for line in wrapped)
    assert words_of(wrapped) == lines[0]


def test_of_many_rows_those_with_an_effect_are_said(said: Any) -> None:
    rows = [{"guide": f"g{n}", "verdict": "not established" if n % 2 else "hurts",
             "difference": -0.2, "difference_low": -0.3, "difference_high": -0.1}
            for n in range(50)]  # fmt: skip
    lines = said(*rows)
    assert len(lines) == 21
    assert all("costs the fcn" in line for line in lines[:20])
    assert lines[-1] == "30 more rows, 25 of them not established."


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
    # Rows of other schedules may lack nothing.
    for schedule in ("alpha=1", "alpha=5"):
        assert line_with(lines, f"trained, {schedule}: specificity needs labels (not planned)")
        assert line_with(lines, f"trained, {schedule}: not compared self (2 pairs")


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


RIVAL = {
    "treatment": "orthogonal", "guide": None, "state": None, "distance": None, "mapping": None,
    "schedule": None, "alpha": None, "shuffled": None, "verdict": "helps",
}  # fmt: skip
PRIOR = RIVAL | {"treatment": "interpolated", "verdict": "helps, prior-specific"}


def test_rivals_have_a_table_below_those_of_guides(printed: Any) -> None:
    permuted = PRIOR | {"control": "permuted", "verdict": "control"}
    lines = printed(permuted, RIVAL, PRIOR, {})
    titles = [line for line in lines if "(primary metric" in line]
    assert [title.partition("  (")[0] for title in titles] == [
        "digits: fcn <- cnn, linear_cka, evenly_spaced", "digits: fcn, rivals",
    ]  # fmt: skip
    below = lines[lines.index(titles[1]) :]
    assert line_with(below, "95% interval").split()[:4] == ["rival", "n", "unguided", "treated"]
    assert line_with(below, "orthogonal").endswith("helps")
    first = next(place for place, line in enumerate(below) if "interpolated" in line)
    assert below[first].endswith("helps, prior-specific")
    assert below[first + 1].split()[:2] == ["interpolated,", "permuted"]
    assert any(line.startswith("Rivals treat the target") for line in below)


def test_rivals_alone_are_printed(printed: Any) -> None:
    assert "rivals" in printed(RIVAL)[0]


@pytest.mark.parametrize("columns", [60, 100])
def test_rivals_fit_a_terminal(printed: Any, terminal: Any, columns: int) -> None:
    terminal(columns)
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in printed(RIVAL, PRIOR)]
    assert max(map(len, lines)) <= columns
    assert any("interpolated" in line for line in lines)


def test_sentences_of_rivals_follow_those_of_guides(capsys: pytest.CaptureFixture[str]) -> None:
    print_sentences(frame_of([{**ROW, **RIVAL}, ROW], schema("transfer")))
    first, second = capsys.readouterr().out.splitlines()
    assert "trained cnn" in first
    assert second.startswith("- The rival orthogonal lifts the fcn by 20.0 points")
