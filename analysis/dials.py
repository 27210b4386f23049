"""The `dials` table: does a mixture of guides beat the better of them, and at which weights?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis import cells
from analysis.cells import Cell, Metric, TaskMetrics
from analysis.contract import TUNED
from analysis.mixture_labels import is_mixture, parts_of
from analysis.schema import frame_of, schema
from analysis.statistics import CONFIDENCE, MIN_SEEDS, PairedDifference

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, object]
#: A guide and its state, or (`name(control=input)`, None) for a control that is part of a mixture.
_Guide = tuple[str, str | None]

#: Bootstrap draws of seeds for the place of the best setting.
DRAWS = 9999
#: Seed of the draws.
SEED = 1979


def dial_table(replicates: pd.DataFrame, tasks: Mapping[str, TaskMetrics]) -> pd.DataFrame:
    """One row for each setting of a dial of guides, and each metric of its task.

    A dial is of guided rows that differ in the weights of the same guides alone; a guide by itself
    is an end of it. A mixture beats its ends if it beats every one (intersection-union test, Berger
    1982, Technometrics 24), each at a one-sided level of half of 1 - 95 %.

    Args:
        replicates: the `replicates` table, a row for each planned replicate in each of its places.
        tasks: task label to its metrics.

    Raises ValueError when a condition holds a seed twice or its task is not in `tasks`.
    """
    rows: list[Row] = []
    if not any(map(is_mixture, replicates["guide"].dropna().unique())):
        return frame_of(rows, schema("dials"))
    metrics = cells.metric_values(replicates, tasks)
    for points in _dials(cells.cells(replicates)):
        for metric in metrics[points[0].cell.condition.task]:
            rows += _Dial(points, metric).rows()
    return frame_of(rows, schema("dials"))


@dataclass(frozen=True)
class _Point:
    """A setting of a dial: its cell, and the weight of each guide that takes part."""

    cell: Cell
    weights: Mapping[_Guide, float]

    @classmethod
    def of(cls, cell: Cell) -> _Point:
        """The setting of a guided cell, or of a control that can be an end."""
        condition = cell.condition
        found = parts_of(str(condition.guide), condition.state)
        if condition.is_control:
            (part,) = found
            name = _with_control(part.name, str(condition.control))
            return cls(cell, {(name, None): part.weight})
        return cls(cell, {(part.name, part.state): part.weight for part in found})

    @property
    def guides(self) -> set[_Guide]:
        """The guides whose weight is not 0."""
        return {guide for guide, weight in self.weights.items() if weight}

    @property
    def is_end(self) -> bool:
        """Whether a guide is alone."""
        return len(self.guides) == 1

    @property
    def share(self) -> float | None:
        """The first guide's part of the sum of the weights; None where it was searched."""
        weights = list(self.weights.values())
        share = weights[0] / sum(weights)
        return None if math.isnan(share) else share


def _with_control(guide: str, control: str) -> str:
    """The label of a guide with a control in its place, as a part of a mixture has it."""
    return (
        f"{guide[:-1]},control={control})" if guide.endswith(")") else f"{guide}(control={control})"
    )


def _dials(all_cells: Sequence[Cell]) -> Iterator[list[_Point]]:
    """Settings of each dial, with two or more; of mixtures of the same guides, and these alone."""
    groups: dict[object, list[_Point]] = {}
    for cell in all_cells:
        condition = cell.condition
        if condition.is_rival or (condition.is_control and is_mixture(condition.guide)):
            continue
        key = condition._replace(guide=None, state=None, control=None)
        groups.setdefault(key, []).append(_Point.of(cell))
    for points in groups.values():
        mixtures = [tuple(point.weights) for point in points if len(point.weights) > 1]
        # Of mixtures of the same guides in another order, the first names the dial.
        names_of = {frozenset(names): names for names in reversed(mixtures)}
        for guides, names in reversed(names_of.items()):
            inside = [point for point in points if point.weights.keys() <= guides]
            if len(inside) > 1 and not any(guides < others for others in names_of):
                yield [_Point(p.cell, {n: p.weights.get(n, 0.0) for n in names}) for p in inside]


@dataclass(frozen=True, eq=False)
class _Dial:
    """P settings of one dial, on a metric; each has the weights of all its guides, 0 among them."""

    points: Sequence[_Point]
    metric: Metric

    def rows(self) -> list[Row]:
        """A row for each setting, the first guide's share falling."""
        best = self._best()
        order = sorted(range(len(self.points)), key=lambda i: -(self.points[i].share or 0.0))
        return [self._row(self.points[index]) | best.get(index, {}) for index in order]

    def _row(self, point: _Point) -> Row:
        seeds = self.metric.shared(point.cell)
        effect = self.metric.better(self.metric.of(point.cell, seeds), self.metric.at(seeds))
        return {
            **point.cell.condition._asdict(),
            "metric": self.metric.name,
            "higher_is_better": self.metric.higher_is_better,
            "primary": self.metric.primary,
            "mixture": " and ".join(" ".join(filter(None, guide)) for guide in point.weights),
            "weights": ", ".join(map(_shown, point.weights.values())),
            "share": point.share,
            "n": effect.n,
            "difference": effect.mean,
            "difference_low": effect.low,
            "difference_high": effect.high,
            **self._beyond_ends(point),
        }

    def _best(self) -> dict[int, Row]:
        """Whether each setting is the best, how often in draws of seeds, and the best's range.

        Over the seeds at which all settings finished that have any value.
        """
        known = [i for i, point in enumerate(self.points) if self.metric.shared(point.cell)]
        seeds = self.metric.shared(*(self.points[i].cell for i in known)) if known else []
        if not seeds:
            return {}
        values = np.array([self.metric.of(self.points[i].cell, seeds) for i in known])
        sign = 1 if self.metric.higher_is_better else -1
        best = known[int(np.argmax(sign * values.mean(axis=1)))]
        rows: dict[int, Row] = {i: {"best": i == best, "best_n": len(seeds)} for i in known}
        if len(seeds) < MIN_SEEDS:
            return rows
        draws = np.random.default_rng(SEED).integers(len(seeds), size=(DRAWS, len(seeds)))
        chosen = np.array(known)[np.argmax(sign * values[:, draws].mean(axis=2), axis=0)]
        limits = self._limits(chosen)
        return {
            i: row | limits | {"best_probability": float(np.mean(chosen == i))}
            for i, row in rows.items()
        }

    def _limits(self, chosen: npt.NDArray[np.int64]) -> Row:
        """Limits of the share of the settings that were best in draws, of two guides' dial."""
        shares = [point.share for point in self.points]
        if len(self.points[0].weights) != 2 or None in shares:
            return {}
        tail = (1 - CONFIDENCE) / 2
        drawn = np.array(shares, dtype=float)[chosen]
        low, high = np.quantile(drawn, [tail, 1 - tail], method="inverted_cdf")
        return {"best_share_low": float(low), "best_share_high": float(high)}

    def _beyond_ends(self, point: _Point) -> Row:
        """The difference of a mixture to the guide alone that it surely beats by least."""
        ends = [each for each in self.points if each.is_end and each.guides <= point.guides]
        run = set().union(*(end.guides for end in ends))
        if point.is_end or run != point.guides:
            return {}
        found = {_name(end.cell): self.metric.compare(point.cell, end.cell) for end in ends}
        least, result = cells.least_beaten(found)
        mixtures = sum(not each.is_end for each in self.points)
        p_value = _intersection_union(found.values(), mixtures=mixtures)
        return {
            "better_end": least,
            "beyond_ends": result.mean,
            "beyond_ends_low": result.low,
            "beyond_ends_high": result.high,
            "beyond_ends_p": p_value,
            "beats_ends": None if p_value is None else p_value < (1 - CONFIDENCE) / 2,
        }


def _shown(weight: float) -> str:
    return TUNED if math.isnan(weight) else f"{weight:g}"


def _name(cell: Cell) -> str:
    """The label of a guide alone: with its state, or the control in its place."""
    condition = cell.condition
    return f"{condition.guide} {condition.control if condition.is_control else condition.state}"


def _intersection_union(results: Iterable[PairedDifference], *, mixtures: int) -> float | None:
    """p that some difference is no more than 0, for one of so many mixtures; None without one."""
    largest = 0.0
    for result in results:
        if result.p_value is None or result.mean is None:
            return None
        one_sided = result.p_value / 2
        largest = max(largest, one_sided if result.mean > 0 else 1 - one_sided)
    return min(1.0, mixtures * largest)
