"""Rows of replicates that stand together, and of some that do not."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.replicate_rows import rows_of


@pytest.mark.parametrize(
    ("names", "together"), [("aabbbc", True), ("abcbab", False), ("a", True), ("", True)]
)
def test_each_replicate_gets_its_rows_in_their_order(names, together):
    column = pd.Series(list(names), dtype="str")
    found = rows_of(column)
    assert list(found) == list(dict.fromkeys(names))
    for name, rows in found.items():
        assert column.index[rows].tolist() == [k for k, each in enumerate(names) if each == name]
        assert isinstance(rows, slice) == together
