"""Taps that guidance maps, and the rows of the table `alignment` of one guided condition."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from analysis.contract import DISTANCE, GUIDE_MOMENTS, IN_TRAINING

if TYPE_CHECKING:
    import pandas as pd

#: The maps of a guided condition, by name.
BEFORE, GUIDED, UNGUIDED = "before training", "guided", "unguided"


def pair_of(metric: str) -> tuple[str, str]:
    """The taps (target's, guide's) that a metric of the history is the distance of."""
    target, _, guide = metric.removeprefix(DISTANCE).partition("/")
    return target, guide


def of_one_measure(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the first measure over the whole split; where there is none, of the first."""
    if rows.empty:
        return rows
    in_training = rows["measure"].str.contains(IN_TRAINING, regex=False)
    chosen: pd.DataFrame = rows if in_training.all() else rows[~in_training]
    first: pd.DataFrame = chosen[chosen["measure"] == chosen["measure"].iloc[0]]
    return first


def maps(
    alignment: pd.DataFrame,
    guided: pd.DataFrame,
    choose: Callable[[pd.DataFrame], pd.DataFrame] = of_one_measure,
) -> dict[str, pd.DataFrame]:
    """Rows of each map that there is, by its name, each replicate beside its own guide.

    Before training a guided target is what its baseline is.

    Args:
        alignment: the table `alignment`.
        guided: rows of the table `replicates`, the guided ones of one condition.
        choose: the rows of one measure, of those of the condition.
    """
    if guided.empty:
        return {}
    own = set(guided["replicate_id"])
    rows = alignment[alignment["replicate_id"].isin(own | set(guided["baseline_id"].dropna()))]
    if "guide_id" in rows.columns:
        pairs = {
            pair
            for column in ("replicate_id", "baseline_id")
            for pair in zip(guided[column], guided["guide_id"], strict=True)
        }
        beside = zip(rows["replicate_id"], rows["guide_id"], strict=True)
        rows = rows[np.array([pair in pairs for pair in beside], dtype=bool)]
    moment = GUIDE_MOMENTS.get(str(guided["state"].iloc[0]))
    if moment is not None and "guide_moment" in rows.columns:
        rows = rows[rows["guide_moment"].isin([moment])]
    rows = choose(rows)
    final, of_own = rows["moment"] == "final", rows["replicate_id"].isin(own)
    before = ~final & ~of_own
    found = {
        BEFORE: rows[before if before.any() else ~final],
        GUIDED: rows[final & of_own],
        UNGUIDED: rows[final & ~of_own],
    }
    return {name: each for name, each in found.items() if len(each)}
