"""The `priors` table: the parts of an effect due to input, architecture, knowledge and labels.

total = geometry + architecture_beyond_input + knowledge
      = (input - baseline) + (untrained - input) + (trained - untrained)
      = label_part + trained_beyond_labels = (labels - baseline) + (trained - labels)
"""

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
#: Quantities by name: their two sides. Those of a group are over the same seeds.
_PARTS = {
    "geometry": ("input", "baseline"),
    "architecture_beyond_input": ("untrained", "input"),
    "architecture_prior": ("untrained", "baseline"),
    "knowledge": ("trained", "untrained"),
    "total": ("trained", "baseline"),
}
_LABEL_PARTS = {
    "label_part": ("labels", "baseline"),
    "trained_beyond_labels": ("trained", "labels"),
}


def prior_table(replicates: pd.DataFrame, tasks: Mapping[str, TaskMetrics]) -> pd.DataFrame:
    """One row for each guide x task x target x distance x mapping x schedule x metric.

    `state` and `control` are null: a row spans them. Each quantity is a paired difference.
    `geometry`, `architecture_beyond_input` and `knowledge` are over the seeds at which all of
    baseline, input, untrained and trained that were planned have finished, as are their sums
    `architecture_prior` and `total`, so that they add up; a side that finished at no seed takes no
    part in that. `label_part` and `trained_beyond_labels` are over the seeds of baseline, labels
    and trained. A quantity that was not planned is null, and so is its `_n`; `_n` is 0 where it was
    planned and no seed finished. `architecture_specific` counts the baseline among what must be
    beaten, beside the controls; it is null without any control, or where none has finished: the
    baseline alone would say nothing of what is specific.

    Raises ValueError when a condition holds a seed twice or its task is not in `tasks`.
    """
    metrics = cells.metric_values(replicates, tasks)
    rows = []
    for condition, group in cells.grouped(cells.cells(replicates)).items():
        sides = _sides(group)
        if condition.is_rival or not sides.keys() & {"trained", "untrained"}:
            continue
        rows += [
            {
                **condition._asdict(),
                "metric": metric.name,
                "higher_is_better": metric.higher_is_better,
                **_quantities(metric, sides, group),
            }
            for metric in metrics[condition.task]
        ]
    return frame_of(rows, schema("priors"))


def _sides(group: Sequence[Cell]) -> dict[str, Cell]:
    """The cells that quantities are differences of, beside the baseline."""
    found = {str(c.condition.state): c for c in group if not c.condition.is_control}
    for cell in group:
        # At all pairs labels have another name.
        if cell.condition.control in ("input", cells.LABELS):
            found.setdefault(cell.condition.control, cell)
    return found


def _quantities(metric: Metric, sides: Mapping[str, Cell], group: Sequence[Cell]) -> Row:
    states = {name: cell for name, cell in sides.items() if name != "labels"}
    labels = {name: sides[name] for name in ("trained", "labels") if name in sides}
    found = _differences(metric, states, _PARTS) | _differences(metric, labels, _LABEL_PARTS)
    if "untrained" in sides:
        untrained = sides["untrained"]
        specifics = metric.specifics(untrained, cells.controls_of(untrained, group))
        if any(specific.n for specific in specifics.values()):
            seeds = metric.shared(untrained)
            specifics["baseline"] = metric.better(metric.of(untrained, seeds), metric.at(seeds))
        if specifics:
            _, found["architecture_specific"] = cells.least_beaten(specifics)
    row: Row = {}
    for name, result in found.items():
        row |= {
            name: result.mean,
            f"{name}_low": result.low,
            f"{name}_high": result.high,
            f"{name}_n": result.n,
        }
    return row


def _differences(
    metric: Metric, sides: Mapping[str, Cell], parts: Mapping[str, tuple[str, str]]
) -> dict[str, PairedDifference]:
    """The planned parts by name, over the seeds that all sides share which finished at any."""
    finished = {name: cell for name, cell in sides.items() if metric.shared(cell)}
    seeds = metric.shared(*finished.values()) if finished else []
    values = {name: metric.of(cell, seeds) for name, cell in finished.items()}
    values["baseline"] = metric.at(seeds)
    return {
        name: metric.better(values[first], values[second])
        if {first, second} <= values.keys()
        else PairedDifference(n=0)
        for name, (first, second) in parts.items()
        if {first, second} <= {*sides, "baseline"}
    }
