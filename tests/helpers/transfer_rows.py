"""One row of a transfer table, and the interval that an independent library gives it."""

from __future__ import annotations

from scipy import stats


def row(frame, metric="accuracy", control="none", state="trained", **columns):
    chosen = frame[(frame["metric"] == metric) & (frame["control"] == control)]
    chosen = chosen[chosen["state"].isna() if state is None else chosen["state"] == state]
    for column, value in columns.items():
        chosen = chosen[chosen[column] == value]
    assert len(chosen) == 1
    return chosen.iloc[0]


def interval(first, second):
    found = stats.ttest_rel(first, second).confidence_interval(0.95)
    return found.low, found.high
