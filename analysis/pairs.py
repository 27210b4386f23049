"""The `pairs` table: each seed's value of a condition beside that of its baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from analysis import cells
from analysis.cells import Cell, Member, Metric, TaskMetrics
from analysis.contract import Role
from analysis.schema import frame_of, schema

if TYPE_CHECKING:
    import pandas as pd


def pair_table(replicates: pd.DataFrame, tasks: Mapping[str, TaskMetrics]) -> pd.DataFrame:
    """One row for each guided or control condition, test metric and planned seed.

    Means of its differences are those of `transfer`. A replicate that stands in several conditions
    has a row in each, which the table `replicates` has not.

    Args:
        replicates: the `replicates` table, a row for each planned replicate in each of its places.
        tasks: task label to its metrics.
    """
    metrics = cells.metric_values(replicates, tasks)
    planned = replicates.drop_duplicates("replicate_id").set_index("replicate_id")
    seeds, states = planned["seed"].to_dict(), planned["status"].to_dict()
    rows = [
        _row(cell, member, metric) | {
            "seed": seeds[member.replicate_id], "status": states[member.replicate_id],
        }
        for cell in cells.cells(replicates)
        for metric in metrics[cell.condition.task]
        for member in cell.members.values()
    ]  # fmt: skip
    return frame_of(rows, schema("pairs"))


def _role(cell: Cell) -> Role:
    if cell.condition.is_control:
        return Role.control
    return Role.rival if cell.condition.is_rival else Role.guided


def _row(cell: Cell, member: Member, metric: Metric) -> dict[str, Any]:
    guided = metric.values.get(member.replicate_id)
    baseline = metric.values.get(member.baseline_id)
    row = {
        **cell.condition._asdict(),
        **member._asdict(),
        "metric": metric.name,
        "higher_is_better": metric.higher_is_better,
        "primary": metric.primary,
        "role": _role(cell),
        "num_pairs": cell.num_pairs,
        "guided": guided,
        "baseline": baseline,
    }
    if guided is not None and baseline is not None:
        row["difference"] = (1 if metric.higher_is_better else -1) * (guided - baseline)
    return row
