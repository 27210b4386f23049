"""Rules beside their values: whole on a terminal of any width."""

from __future__ import annotations

import re

import pytest

from study.cli.console import wide_console
from study.cli.statement_rows import Measured, Statement, number, print_statements

RULE = "trained {schedule: alpha=1} - trained.shuffled {schedule: alpha=1} >= 4 points"
CLAIM = "the right example matters"
FOUND = Measured(value=0.041, low=0.02, high=0.062, n=5)
VERDICT = "holds, established"
STATEMENT = Statement(
    cells=(RULE, CLAIM, *FOUND.cells(), VERDICT),
    head=f"{VERDICT}: {RULE}",
    below=[f"accuracy {FOUND.text()}", CLAIM],
)
COLUMNS = ("rule", "claim", "measured", "95% interval", "n", "verdict")


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_statements(wide_console(), COLUMNS, [STATEMENT, STATEMENT])
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    return [line.strip() for line in shown.splitlines() if line.strip()]


@pytest.mark.parametrize("columns", [40, 80, 120, 200])
def test_nothing_is_cut_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    for name, value in (("COLUMNS", columns), ("TTY_COMPATIBLE", 1), ("NO_COLOR", 1)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("TERM", "xterm-256color")
    lines = printed(capsys)
    assert max(map(len, lines)) <= columns
    words = " ".join(" ".join(lines).split())
    for text in (RULE, CLAIM, VERDICT):
        assert words.count(text) == 2
    for text in ("0.041", "0.020 .. 0.062"):
        assert sum(text in line for line in lines) == 2
    # Head and rule of a table, and a line of each; or three lines of each that fit or are wrapped.
    assert len(lines) == {40: 10, 80: 8, 120: 6, 200: 4}[columns], lines


def test_where_output_is_no_terminal_a_row_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, *rows = printed(capsys)
    assert len(rows) == 2
    for line in rows:
        assert line.startswith(RULE)
        assert line.endswith(f"5   {VERDICT}")


def test_numbers_that_are_not_zero_do_not_read_as_zero() -> None:
    assert [number(value) for value in (0.0003, -0.04, 12.345, None)] == [
        "0.0003", "-0.040", "12.35", "-",
    ]  # fmt: skip


def test_what_was_not_run_has_no_interval() -> None:
    absent = Measured(value=None, low=None, high=None, n=0)
    assert absent.cells("not run") == ("not run", "-", "0")
    assert absent.text("not run") == "not run, n 0"
