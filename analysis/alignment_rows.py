"""Taps that guidance maps, and the rows of the table `alignment` of one guided condition."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from analysis.contract import DISTANCE, GUIDE_MOMENTS, IN_TRAINING
from analysis.mixture_labels import is_mixture, parts_of

if TYPE_CHECKING:
    import pandas as pd

#: The maps of a guided condition, by name.
BEFORE, GUIDED, UNGUIDED = "before training", "guided", "unguided"


#: Begin of a tap's name in training beside several guides: the guide's number.
NUMBERED = r"^(\d+):"


def pair_of(metric: str) -> tuple[str, str]:
    """The taps (target's, guide's) that a metric of the history is the distance of."""
    target, _, guide = metric.removeprefix(DISTANCE).partition("/")
    return target, guide


def of_part(pairs: Iterable[tuple[str, str]], part: int | None) -> set[tuple[str, str]]:
    """Those of the pairs (target tap, guide tap) that are with one guide of a mixture.

    Their guide taps lose the guide's number. All pairs where `part` is None.
    """
    if part is None:
        return set(pairs)
    begin = f"{part}:"
    return {(a, b.removeprefix(begin)) for a, b in pairs if b.startswith(begin)}


def of_one_measure(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the first measure over the whole split; where there is none, of the first."""
    if rows.empty:
        return rows
    in_training = rows["measure"].str.contains(IN_TRAINING, regex=False)
    chosen: pd.DataFrame = rows if in_training.all() else rows[~in_training]
    first: pd.DataFrame = chosen[chosen["measure"] == chosen["measure"].iloc[0]]
    return first


def guides_of(guided: pd.DataFrame) -> dict[int, str]:
    """Guides of a mixture, in words, by their number in it from 1; empty where it is none.

    A control that stands in a guide's place is not compared with the target.

    Args:
        guided: rows of the table `replicates`, the guided ones of one condition.
    """
    if guided.empty or not is_mixture(guided["guide"].iloc[0]):
        return {}
    parts = parts_of(str(guided["guide"].iloc[0]), guided["state"].iloc[0])
    return {
        number: f"{part.name} {part.state}" if part.state else part.name
        for number, part in enumerate(parts, 1)
        if not part.is_control
    }


def maps(
    alignment: pd.DataFrame,
    guided: pd.DataFrame,
    choose: Callable[[pd.DataFrame], pd.DataFrame] = of_one_measure,
    *,
    part: int | None = None,
) -> dict[str, pd.DataFrame]:
    """Rows of each map that there is, by its name, each replicate beside its own guide.

    Before training a guided target is what its baseline is.

    Args:
        alignment: the table `alignment`.
        guided: rows of the table `replicates`, the guided ones of one condition.
        choose: the rows of one measure, of those of the condition.
        part: the number in its mixture (see `guides_of`) of the guide that the maps are beside.
    """
    if guided.empty:
        return {}
    own = set(guided["replicate_id"])
    rows = alignment[alignment["replicate_id"].isin(own | set(guided["baseline_id"].dropna()))]
    rows = _beside_guide(rows, guided) if part is None else _beside_part(rows, guided, part)
    rows = choose(rows)
    final, of_own = rows["moment"] == "final", rows["replicate_id"].isin(own)
    before = ~final & ~of_own
    found = {
        BEFORE: rows[before if before.any() else ~final],
        GUIDED: rows[final & of_own],
        UNGUIDED: rows[final & ~of_own],
    }
    return {name: each for name, each in found.items() if len(each)}


def _beside_guide(rows: pd.DataFrame, guided: pd.DataFrame) -> pd.DataFrame:
    """Rows of targets and baselines beside the one guide of their seed."""
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
    return rows


def _beside_part(rows: pd.DataFrame, guided: pd.DataFrame, part: int) -> pd.DataFrame:
    """Rows of targets and baselines beside one guide of their mixture.

    In training the names of its taps begin with its number, which says who it was.
    """
    keys = ["replicate_id", "guide_id", "guide_moment"]
    numbers = rows["guide_tap"].str.extract(NUMBERED, expand=False)
    of_part = rows.loc[numbers == str(part), keys].drop_duplicates()
    baselines = guided.set_index("replicate_id")["baseline_id"]
    of_baselines = of_part.assign(replicate_id=of_part["replicate_id"].map(baselines))
    known = {*of_part.itertuples(index=False), *of_baselines.itertuples(index=False)}
    beside = rows[keys].itertuples(index=False)
    mask = np.array([each in known for each in beside], dtype=bool)
    found = rows[mask & (numbers.isna() | (numbers == str(part))).to_numpy()]
    taps = found["guide_tap"].str.replace(NUMBERED, "", regex=True)
    return found.assign(guide_tap=taps)
