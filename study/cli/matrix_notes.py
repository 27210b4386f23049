"""Lines below a table of the matrix: what stands behind the verdicts of its guided rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from analysis.contract import arm_of, is_rival
from analysis.quantities import fixed

Row = Mapping[str, Any]


def label(row: Row) -> str:
    """The guide's state, or the rival, and what replaced it: a row's words beside its schedule."""
    named = [
        row["treatment"] if is_rival(row) else row["state"],
        None if row["control"] == "none" else row["control"],
    ]
    return ", ".join(str(part) for part in named if present(part))


def notes(row: Row) -> Iterator[str]:
    """Lines on what stands behind a guided row's verdict: failed seeds, bimodal arms, controls."""
    which = f"{label(row)}, {row['schedule']}:" if present(row["schedule"]) else f"{label(row)}:"
    treated = arm_of(row)
    num_failed = row["n_failed_guided"] + row["n_failed_baseline"]
    if num_failed:
        known = present(row["difference_worst"])
        worst = _interval(row, "difference_worst") if known else "not known, as chance is not"
        yield (
            f"{which} {row['n_failed_guided']} {treated} and {row['n_failed_baseline']} unguided "
            f"seeds failed; the difference at worst is {worst}"
        )
    if present(row["seeds_disagree"]) and row["seeds_disagree"]:
        yield (
            f"{which} seeds disagree: {row['guided_success']:.0%} of {treated} and "
            f"{row['baseline_success']:.0%} of unguided seeds are better than "
            f"{row['success_threshold']:.3f}"
        )
    yield from _other_baselines(row, which)
    for column, words in (
        ("missing_controls", "specificity needs"),
        ("uncompared_controls", "not compared"),
    ):
        if present(row[column]):
            yield f"{which} {words} {row[column]}"


def _other_baselines(row: Row, which: str) -> Iterator[str]:
    """Lines on baselines at equal compute, and on both arms at best validation."""
    for name, words in (
        ("matched", "at equal compute"),
        ("matched_full", "with the guide's training as well"),
    ):
        if present(row[f"baseline_{name}"]):
            difference = _interval(row, f"difference_{name}")
            yield f"{which} {words} unguided {row[f'baseline_{name}']:.3f}, difference {difference}"
    if present(row["difference_best"]):
        yield (
            f"{which} at best validation unguided {row['baseline_best']:.3f}, {arm_of(row)} "
            f"{row['guided_best']:.3f}, difference {_interval(row, 'difference_best')}"
        )


def _interval(row: Row, column: str) -> str:
    mean, low, high = (row[f"{column}{side}"] for side in ("", "_low", "_high"))
    limits = [fixed(each, 3, signed=True) for each in (low, high)] if present(low) else []
    return fixed(mean, 3, signed=True) + (f" ({' .. '.join(limits)})" if limits else "")


def present(value: Any) -> bool:
    """Whether a cell of a table has a value."""
    import pandas as pd

    return bool(pd.notna(value))
