"""Sections of the page made of a few rows in memory: their words, columns and blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.report import StudyTables, statements
from analysis.schema import frame_of, schema


def tables(folder: Path, **rows: list[dict[str, Any]]) -> StudyTables:
    """Tables in memory, of these rows by name."""
    frames: dict[str, pd.DataFrame] = {
        name: frame_of(each, schema(name, ["accuracy"])) for name, each in rows.items()
    }
    return StudyTables("any", folder, frames)


@pytest.mark.parametrize(
    ("holds", "words"),
    [
        ([True, False], "1 of 2 rules of the spec hold."),
        ([True], "1 of 1 rule of the spec holds."),
        ([True, None], "1 of 1 rule of the spec holds; 1 more could not be checked."),
        ([None, None], "The 2 rules of the spec could not be checked: the table says why."),
        ([None], "The rule of the spec could not be checked: the table says why."),
    ],
)
def test_rules_that_could_not_be_checked_do_not_count(
    tmp_path: Path, holds: list[bool | None], words: str
) -> None:
    rows = [
        {"study": "any", "place": f"expect[{k}]", "rule": "trained >= 0", "n": 0, "holds": each}
        for k, each in enumerate(holds)
    ]
    section = statements.section(tables(tmp_path, expectations=rows))
    assert section is not None
    assert section.blocks[0].text == words
