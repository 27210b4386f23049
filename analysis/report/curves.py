"""Learning curves with bands over seeds, from a history that may be larger than memory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from analysis import plots
from analysis.contract import VALIDATION, Role
from analysis.plots import selection
from analysis.report.blocks import Section
from analysis.report.gallery import Gallery
from analysis.report.selected import is_in
from analysis.report.tables import StudyTables, targets_of

if TYPE_CHECKING:
    import pandas as pd

#: Figures, and guided conditions of each.
_MOST_FIGURES, _MOST_CONDITIONS = 6, 6
_COLUMNS = ["replicate_id", "step", "metric", "value"]
_AXES = ["treatment", "guide", "state", "control", "distance", "mapping", "schedule"]
_LEAD = (
    "Means over seeds on validation data, with 95% intervals as bands; no band for fewer than "
    "three seeds. The unguided target is black, on a dark page white; the guide alone is grey."
)


def section(tables: StudyTables) -> Section | None:
    """Learning curves of each target of each task; None where nothing has reported."""
    replicates = tables.frame("replicates")
    targets = targets_of(replicates[replicates["role"] == Role.baseline])
    wanted = [key for key in targets if key[0] in tables.primary_metrics]
    drawn = {key: _members(replicates, *key) for key in wanted[:_MOST_FIGURES]}
    ids = {name for rows, _ in drawn.values() for name in rows["replicate_id"]}
    metrics = {VALIDATION + tables.primary_metrics[task] for task, _ in wanted}
    history = _history(tables, ids, metrics)
    if history.empty:
        return None
    gallery = Gallery("curves", most_figures=_MOST_FIGURES, most_bytes=450_000)
    gallery.left_out = max(0, len(wanted) - _MOST_FIGURES)
    for (task, target), (rows, cut) in drawn.items():
        metric = VALIDATION + tables.primary_metrics[task]
        there = history[
            (history["metric"] == metric) & history["replicate_id"].isin(rows["replicate_id"])
        ]
        if there.empty:
            continue
        gallery.add(
            partial(plots.curves, there, rows, metric=metric, task=task, target=target),
            f"{task}, {target}: {metric} over training steps"
            + (f" ({cut} more guided conditions are not drawn)" if cut else ""),
        )
    return Section(
        anchor="curves", title="Learning curves", lead=_LEAD, blocks=gallery.close(tables.study)
    )


def _members(replicates: pd.DataFrame, task: Any, target: Any) -> tuple[pd.DataFrame, int]:
    """Replicates of a target, unguided and of its first guided conditions, with their guides.

    Returns them with the number of guided conditions that are left out.
    """
    of_task = replicates[replicates["task"] == task]
    treated = of_task["role"].isin([Role.guided, Role.rival])
    guided = of_task[(of_task["target"] == target) & treated]
    numbers = guided.groupby(_AXES, dropna=False, sort=False).ngroup()
    chosen = guided[numbers < _MOST_CONDITIONS]
    baselines = of_task[(of_task["target"] == target) & (of_task["role"] == Role.baseline)]
    drawn = replicates[replicates.index.isin(chosen.index.union(baselines.index))]
    members = selection.with_guides_alone(replicates, drawn)
    return members, int(numbers.max() + 1 if len(numbers) else 0) - _kinds(chosen)


def _kinds(rows: pd.DataFrame) -> int:
    return len(rows.drop_duplicates(_AXES))


def _history(tables: StudyTables, ids: set[str], metrics: set[str]) -> pd.DataFrame:
    """Reports of some replicates and metrics; the table is read in parts."""
    import pandas as pd

    parts: list[pd.DataFrame] = []

    def take(part: pa.Table) -> None:
        mask = is_in(part["metric"], metrics) & is_in(part["replicate_id"], ids)
        if mask.any():
            parts.append(part.filter(pa.array(mask)).to_pandas())

    tables.batches("history", _COLUMNS, take)
    if not parts:
        return pd.DataFrame(columns=_COLUMNS)
    found = pd.concat(parts, ignore_index=True)
    return found.astype({"metric": str, "replicate_id": str})
