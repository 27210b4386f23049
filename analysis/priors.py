"""The `priors` table: the parts of an effect due to a guide's architecture and knowledge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from analysis import cells
from analysis.cells import Cell, Metric, TaskMetrics
from analysis.schema import frame_of, schema
from analysis.statistics import PairedDifference

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, object]


def prior_table(replicates: pd.DataFrame, tasks: Mapping[str, TaskMetrics]) -> pd.DataFrame:
    """One row for each guide x task x target x distance x mapping x schedule x metric.

    `state` and `control` are null: a row spans them. Each quantity is a paired difference over the
    seeds at which both its sides and the baseline finished, so `knowledge` and
    `architecture_prior` add up to `total` where no seed was lost. A quantity that was not planned
    is null, and so is its `_n`; `_n` is 0 where it was planned and no seed finished.

    Raises ValueError when a condition holds a seed twice or its task is not in `tasks`.
    """
    metrics = cells.metric_values(replicates, tasks)
    rows = []
    for condition, group in cells.grouped(cells.cells(replicates)).items():
        guided = {cell.condition.state: cell for cell in group if not cell.condition.is_control}
        if not guided:
            continue
        rows += [
            {
                **condition._asdict(),
                "metric": metric.name,
                "higher_is_better": metric.higher_is_better,
                **_quantities(metric, guided.get("trained"), guided.get("untrained"), group),
            }
            for metric in metrics[condition.task]
        ]
    return frame_of(rows, schema("priors"))


def _quantities(
    metric: Metric, trained: Cell | None, untrained: Cell | None, group: Sequence[Cell]
) -> Row:
    found: dict[str, PairedDifference] = {}
    if untrained is not None:
        found["architecture_prior"] = _effect(metric, untrained)
        controls = cells.controls_of(untrained, group)
        if controls:
            specifics = metric.specifics(untrained, controls)
            _, found["architecture_specific"] = cells.least_beaten(specifics)
    if trained is not None:
        found["total"] = _effect(metric, trained)
    if trained is not None and untrained is not None:
        found["knowledge"] = metric.compare(trained, untrained)
    row: Row = {}
    for name, result in found.items():
        row |= {
            name: result.mean,
            f"{name}_low": result.low,
            f"{name}_high": result.high,
            f"{name}_n": result.n,
        }
    return row


def _effect(metric: Metric, cell: Cell) -> PairedDifference:
    seeds = metric.shared(cell)
    return metric.better(metric.of(cell, seeds), metric.at(seeds))
