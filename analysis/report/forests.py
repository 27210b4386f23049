"""Forest plots: every condition against the unguided target, its controls and other baselines."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

from analysis import plots
from analysis.plots.interval_rows import share_range
from analysis.report.blocks import Section
from analysis.report.gallery import Gallery
from analysis.report.tables import StudyTables, targets_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

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
        of = f" (the first {_MOST_ROWS} of {len(rows)} conditions)" if cut else ""
        captions = {
            "baseline": f"{task}, {target}: every condition against the unguided target{of}"
        }
        if shown[[*_OTHERS]].notna().any(axis=None):
            captions["controls"] = (
                f"{task}, {target}: guided conditions against their controls and other baselines"
            )
        pairs = tables.pairs(task, target)
        drawn = cache(partial(_of_one_range, shown, pairs, [*captions], task=task, target=target))
        for against, caption in captions.items():
            gallery.add(lambda drawn=drawn, against=against: drawn()[against], caption)  # type: ignore[misc]
    return Section(
        anchor="forests", title="Every condition", lead=_LEAD, blocks=gallery.close(tables.study)
    )


def _of_one_range(
    rows: pd.DataFrame, pairs: pd.DataFrame | None, kinds: list[str], *, task: str, target: str
) -> dict[str, Axes]:
    """Forest plots of these kinds, whose effects compare by eye."""
    found = {
        against: plots.forest(rows, pairs, against=against, task=task, target=target)
        for against in kinds
    }
    share_range([*found.values()])
    return found


def _first(rows: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    return rows.head(_MOST_ROWS), len(rows) > _MOST_ROWS
