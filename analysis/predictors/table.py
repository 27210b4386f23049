"""The `predictors` table: what is known of a guide beforehand, beside what came of its guidance."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analysis import cells
from analysis.cells import Cell, Metric, TaskMetrics
from analysis.contract import GUIDE_MOMENTS, IN_TRAINING
from analysis.predictors.association import (
    MIN_GUIDES,
    Predicted,
    association,
    error_reduction,
    predictions,
)
from analysis.schema import frame_of, schema
from analysis.statistics import Values, finite, mean

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: Names of the predictors, and all of them in the order of the table.
INITIAL_ALIGNMENT, LABEL_SIMILARITY = "initial_alignment", "label_similarity"
GUIDE_SCORE, EFFECTIVE_RANK = "guide_score", "effective_rank"
PREDICTORS = (INITIAL_ALIGNMENT, LABEL_SIMILARITY, GUIDE_SCORE, EFFECTIVE_RANK)

Row = dict[str, object]
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Comparisons that predictors are made of.

    `pairs` are the taps (target's, guide's) that guidance mapped, by guided replicate; `alignment`
    are similarities before training, by baseline, guide, guide's moment, target tap and guide tap;
    `taps` are similarity to the labels and effective rank, by guide, moment and tap.
    """

    pairs: Mapping[str, Pairs]
    alignment: Mapping[tuple[str, ...], float]
    taps: Mapping[tuple[str, str, str], tuple[float, float]]

    @classmethod
    def of(
        cls, alignment: pd.DataFrame, guide_taps: pa.Table | None, pairs: Mapping[str, Pairs]
    ) -> Measured:
        """Those of the table `alignment` and of the file `guide_taps.parquet`, if there is one."""
        keys = ["replicate_id", "guide_id", "guide_moment", "target_tap", "guide_tap"]
        chosen = alignment[(alignment["moment"] == "initial") & alignment["similarity"].notna()]
        # Guided replicates also hold what was measured in training, on fewer examples.
        chosen = chosen[~chosen["measure"].str.contains(IN_TRAINING, regex=False)]
        names = zip(*(chosen[key].astype(str) for key in keys), strict=True)
        return cls(
            pairs=pairs,
            alignment=dict(zip(names, chosen["similarity"].tolist(), strict=True)),
            taps={} if guide_taps is None else _by_tap(guide_taps),
        )

    def of_member(self, member: cells.Member, moment: str) -> dict[str, float]:
        """Predictors of one seed, by name; means over the mapped pairs, and over their guide taps.

        What was not measured is absent.
        """
        pairs = self.pairs.get(member.replicate_id, ())
        guide = str(member.guide_id), moment
        similar = [self.alignment.get((member.baseline_id, *guide, *pair)) for pair in pairs]
        taps = [self.taps.get((*guide, tap)) for tap in dict.fromkeys(tap for _, tap in pairs)]
        labels, ranks = ([None if tap is None else tap[i] for tap in taps] for i in range(2))
        found = {INITIAL_ALIGNMENT: similar, LABEL_SIMILARITY: labels, EFFECTIVE_RANK: ranks}
        return {
            name: float(np.mean([v for v in values if v is not None]))
            for name, values in found.items()
            if values and None not in values
        }


def _by_tap(table: pa.Table) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Values by guide, moment and tap; a pretrained guide's initial ones are means over seeds."""
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for row in table.to_pylist():
        values = row["label_similarity"], row["effective_rank"]
        key = row["guide_id"], row["guide_moment"], row["tap"]
        found.setdefault(key, []).append(values)
    means = {key: np.mean(values, axis=0) for key, values in found.items()}
    return {key: (float(v[0]), float(v[1])) for key, v in means.items() if np.isfinite(v).all()}


def predictor_table(
    replicates: pd.DataFrame, measured: Measured, tasks: Mapping[str, TaskMetrics]
) -> pd.DataFrame:
    """One row for each guided condition and predictor, on the task's primary metric.

    Conditions that differ in guide and target alone are a group; correlation, predictions and
    verdict are over guides and targets of which all pairs have a value: where some lack one, guides
    or targets are left out of these. Conditions of several guides at once are left out.

    Args:
        replicates: the `replicates` table, a row for each planned replicate in each of its places.
        measured: comparisons of guides with targets, and with labels.
        tasks: task label to its metrics.

    Raises ValueError when a condition holds a seed twice or its task is not in `tasks`.
    """
    metrics = cells.metric_values(replicates, tasks)
    rows: list[Row] = []
    for group in cells.guided_groups(cells.cells(replicates)):
        single = [cell for cell in group.values() if _has_guide(cell)]
        if single:
            rows += _group_rows(single, metrics[single[0].condition.task][0], measured)
    return frame_of(rows, schema("predictors"))


def _has_guide(cell: Cell) -> bool:
    return any(member.guide_id is not None for member in cell.members.values())


class _Observed(NamedTuple):
    """A guided condition: its values by predictor, and its difference over n seeds."""

    cell: Cell
    values: Mapping[str, float]
    difference: float | None
    n: int


def _group_rows(group: Iterable[Cell], metric: Metric, measured: Measured) -> list[Row]:
    observed = [_observe(cell, metric, measured) for cell in group]
    rows: list[Row] = []
    for name in PREDICTORS:
        block = _Block.of(observed, name, metric)
        shared = block.columns()
        rows += [_described(each, name, metric) | shared | block.predicted(each.cell)
                 for each in observed]  # fmt: skip
    return rows


def _observe(cell: Cell, metric: Metric, measured: Measured) -> _Observed:
    moment = GUIDE_MOMENTS.get(str(cell.condition.state), "")
    found: dict[str, list[float]] = {}
    for member in cell.members.values():
        values = measured.of_member(member, moment)
        if member.guide_id in metric.values:
            values[GUIDE_SCORE] = metric.values[str(member.guide_id)]
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    seeds = metric.shared(cell)
    difference = metric.better(metric.of(cell, seeds), metric.at(seeds))
    means = {name: float(np.mean(values)) for name, values in found.items()}
    return _Observed(cell, means, difference.mean, difference.n)


def _described(each: _Observed, name: str, metric: Metric) -> Row:
    return {
        **each.cell.condition._asdict(),
        "metric": metric.name, "higher_is_better": metric.higher_is_better,
        "predictor": name, "value": each.values.get(name),
        "difference": each.difference, "n": each.n,
    }  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Block:
    """A predictor `x` and differences `y`, `(G, T)`, of the guides and targets that have both."""

    guides: Sequence[str]
    targets: Sequence[str]
    x: Values
    y: Values
    #: 1, or -1 where a lower value of the predictor is better.
    sign: int
    predictions: Predicted

    @classmethod
    def of(cls, observed: Iterable[_Observed], name: str, metric: Metric) -> _Block:
        """A block without a missing value, see `_whole`; it may be empty."""
        known = {
            (str(each.cell.condition.guide), each.cell.condition.target): (
                each.values[name], each.difference)
            for each in observed
            if name in each.values and each.difference is not None
        }  # fmt: skip
        guides, targets = _whole(known)
        both = np.array([[known[g, t] for t in targets] for g in guides], dtype=float)
        x, y = np.moveaxis(both.reshape(len(guides), len(targets), 2), -1, 0)
        lower = name == GUIDE_SCORE and not metric.higher_is_better
        return cls(guides, targets, x, y, -1 if lower else 1, predictions(x, y))

    def columns(self) -> Row:
        """Columns that all rows of the group share."""
        found = association(self.sign * self.x, self.y)
        reduction = error_reduction(self.y, self.predictions.values)
        # Fewer guides establish nothing, whichever way it is put.
        has_limits = len(self.guides) >= MIN_GUIDES
        return {
            "guides": len(self.guides),
            "targets": len(self.targets),
            "spearman": found.correlation,
            "spearman_low": found.low,
            "spearman_high": found.high,
            "spearman_p": found.p_value,
            "permutations": found.permutations,
            "left_out_low": found.left_out[0],
            "left_out_high": found.left_out[1],
            "error": finite(mean(np.abs(self.y - self.predictions.values).ravel())),
            "error_reduction": reduction.mean,
            "error_reduction_low": reduction.low if has_limits else None,
            "error_reduction_high": reduction.high if has_limits else None,
            "verdict": found.verdict,
        }

    def predicted(self, cell: Cell) -> Row:
        """The prediction of a condition from the other guides, null where there is none."""
        guide, target = str(cell.condition.guide), cell.condition.target
        if guide not in self.guides or target not in self.targets:
            return {}
        place = self.guides.index(guide), self.targets.index(target)
        names = ("predicted", "predicted_low", "predicted_high")
        return {n: finite(each[place]) for n, each in zip(names, self.predictions, strict=True)}


def _whole(known: Collection[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Guides and targets of which all pairs are known, in their order.

    As long as pairs are missing, whatever lacks most goes: a guide or a target. Of equals it is the
    target, unless that is the last one, because guides are what verdicts are over.
    """
    guides = list(dict.fromkeys(guide for guide, _ in known))
    targets = list(dict.fromkeys(target for _, target in known))
    while True:
        lacks = np.array([[(g, t) not in known for t in targets] for g in guides])
        if not lacks.any():
            return guides, targets
        by_guide, by_target = lacks.sum(1), lacks.sum(0)
        if len(targets) > 1 and by_target.max() >= by_guide.max():
            del targets[int(by_target.argmax())]
        else:
            del guides[int(by_guide.argmax())]
