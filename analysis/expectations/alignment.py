"""Final similarity of a target and its guide: the mean over the pairs that guidance maps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analysis.alignment_rows import pair_of
from analysis.contract import DISTANCE, IN_TRAINING
from analysis.errors import UserError
from analysis.expectations.terms import Row, Selected

if TYPE_CHECKING:
    import pandas as pd

Pair = tuple[str, str]


class _Guide(NamedTuple):
    """The guide that a target was compared with, at a moment, and the rows of the features."""

    guide_id: str | None
    moment: str | None
    rows: str


class Similarities:
    """Final similarity of the mapped pairs, by seed, from the tables `alignment` and `history`.

    There are two measures: the one in training, of guided targets and controls, and the one on the
    whole test split, of guided targets and baselines.
    """

    def __init__(self, alignment: pd.DataFrame, history: pd.DataFrame) -> None:
        self._alignment = alignment[alignment["moment"] == "final"]
        mapped = history[history["metric"].str.startswith(DISTANCE)]
        self._mapped = mapped[["replicate_id", "metric"]].drop_duplicates()

    def of(self, selected: Selected, *, whole: bool) -> dict[int, float]:
        """Similarity of guided targets or controls by seed, in training or on the `whole` split."""
        ids = {seed: str(row["replicate_id"]) for seed, row in selected.rows.items()}
        pairs, found = self._pairs(ids.values()), self._found(ids.values(), whole=whole)
        values = {}
        for seed, identifier in ids.items():
            compared = found.get(identifier, {})
            if len(compared) == 1:
                (similarities,) = compared.values()
                values[seed] = _mean(similarities, pairs.get(identifier, ()))
        return _finite(values)

    def of_baseline(self, selected: Selected, hosts: Sequence[Row]) -> dict[int, float]:
        """Similarity of baselines by seed to the guides of the guided `hosts`, on the whole split.

        Raises ValueError where these guides, or the pairs, are not the same for all hosts.
        """
        guided = [row for row in hosts if row["control"] == "none"]
        ids = [str(row["replicate_id"]) for row in guided]
        pairs, guides = self._pairs(ids), self._found(ids, whole=False)
        wanted: dict[Any, dict[Any, None]] = {}
        for row, identifier in zip(guided, ids, strict=True):
            for guide in guides.get(identifier, {}):
                key = (guide, pairs.get(identifier, frozenset()))
                wanted.setdefault(row["baseline_id"], {})[key] = None
        baselines = {seed: str(row["replicate_id"]) for seed, row in selected.rows.items()}
        found = self._found(baselines.values(), whole=True)
        values = {}
        for seed, identifier in baselines.items():
            keys = list(wanted.get(identifier, {}))
            if len(keys) > 1:
                raise UserError(
                    "baseline: its similarity to which guide? Say whose baseline it is in braces, "
                    "as in baseline {state: trained}"
                )
            for guide, mapped in keys:
                similarities = found.get(identifier, {}).get(guide, {})
                values[seed] = _mean(similarities, mapped)
        return _finite(values)

    def _pairs(self, ids: Iterable[str]) -> dict[str, frozenset[Pair]]:
        """The mapped pairs (target tap, guide tap) of each replicate that has any."""
        rows = self._mapped[self._mapped["replicate_id"].isin(list(ids))]
        found: dict[str, set[Pair]] = {}
        for identifier, metric in rows.itertuples(index=False):
            found.setdefault(identifier, set()).add(pair_of(metric))
        return {identifier: frozenset(pairs) for identifier, pairs in found.items()}

    def _found(
        self, ids: Iterable[str], *, whole: bool
    ) -> dict[str, dict[_Guide, dict[Pair, float]]]:
        """Similarity of every pair of taps, by replicate and guide."""
        frame = self._alignment
        frame = frame[frame["replicate_id"].isin(list(ids))]
        frame = frame[frame["measure"].str.contains(IN_TRAINING, regex=False) != whole]
        found: dict[str, dict[_Guide, dict[Pair, float]]] = {}
        text = frame[["guide_id", "guide_moment", "rows"]].astype(object)
        keys = text.where(text.notna(), None).itertuples(index=False, name=None)
        taps = zip(frame["target_tap"], frame["guide_tap"], strict=True)
        values = frame["similarity"].to_numpy(dtype=float, na_value=np.nan)
        for identifier, key, pair, value in zip(
            frame["replicate_id"], keys, taps, values, strict=True
        ):
            found.setdefault(identifier, {}).setdefault(_Guide(*key), {})[pair] = float(value)
        return found


def _mean(similarities: Mapping[Pair, float], pairs: Iterable[Pair]) -> float:
    """Mean; NaN if a pair has no value, because the mean would be of other layers, or if empty."""
    values = [similarities.get(pair, np.nan) for pair in pairs]
    return float(np.mean(values)) if values else float("nan")


def _finite(values: Mapping[int, float]) -> dict[int, float]:
    return {seed: value for seed, value in values.items() if np.isfinite(value)}
