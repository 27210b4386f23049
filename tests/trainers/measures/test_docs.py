"""The page about measures says what the code says, and its example runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trainers.measures import MEASURES
from trainers.registry import format_value

PAGE = (Path(__file__).parents[3] / "docs" / "measures.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)` \| [^|]* \| ([^|]*) \| [^|]* \| ([^|]*) \|$", re.M)
ROWS = {name: (invariances, options) for name, invariances, options in ROW.findall(PAGE)}


def test_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    exec(compile(code, "measures.md", "exec"), {})
    printed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert printed == MEASURES.names()


def test_table_has_every_measure_its_invariances_and_its_options() -> None:
    assert sorted(ROWS) == MEASURES.names()
    for name, (invariances, options) in ROWS.items():
        entry = MEASURES[name]
        stated = tuple(word.strip() for word in invariances.split(";")[0].split(","))
        assert stated == entry.info["invariances"], name
        expected = {option: format_value(value) for option, value in entry.defaults.items()}
        assert dict(re.findall(r"`(\w+)` ([\w.]+)", options)) == expected, name
