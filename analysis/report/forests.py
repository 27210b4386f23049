"""Forest plots: every condition against the unguided target, its controls and other baselines."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from analysis import plots
from analysis.report.blocks import Section
from analysis.report.gallery import Gallery
from analysis.report.tables import StudyTables, targets_of

if TYPE_CHECKING:
    import pandas as pd

#: Conditions of one figure.
_MOST_ROWS = 28
#: Columns of effects beside that on the baseline.
_OTHERS = ("specific", "difference_matched", "difference_matched_full", "difference_best")
_LEAD = (
    "Each row is a condition: a diamond for the mean of paired differences, a line for its 95% "
    "interval, a dot for each seed. A filled diamond has an interval without zero, an open one an "
    "interval that holds it, a cross no interval."
)


def section(tables: StudyTables) -> Section | None:
    """Forest plots of each target of each task; None where nothing was compared."""
    transfer = tables.frame("transfer")
    primary = transfer[transfer["primary"]]
    if primary.empty:
        return None
    gallery = Gallery("forest", most_figures=8, most_bytes=600_000)
    for task, target in targets_of(primary):
        rows = primary[(primary["task"] == task) & (primary["target"] == target)]
        shown, cut = _first(rows)
        pairs = tables.pairs(task, target)
        gallery.add(
            partial(plots.forest, shown, pairs, task=task, target=target),
            f"{task}, {target}: every condition against the unguided target"
            + (f" (the first {_MOST_ROWS} of {len(rows)} conditions)" if cut else ""),
        )
        if shown[[*_OTHERS]].notna().any(axis=None):
            gallery.add(
                partial(plots.forest, shown, pairs, against="controls", task=task, target=target),
                f"{task}, {target}: guided conditions against their controls and other baselines",
            )
    return Section(
        anchor="forests", title="Every condition", lead=_LEAD, blocks=gallery.close(tables.study)
    )


def _first(rows: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    return rows.head(_MOST_ROWS), len(rows) > _MOST_ROWS
