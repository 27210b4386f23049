"""Alignment maps: guide taps x target taps, before training, guided, and without guidance."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from analysis import plots
from analysis.contract import Role, Status
from analysis.report.blocks import Section
from analysis.report.gallery import Gallery
from analysis.report.selected import is_in
from analysis.report.tables import StudyTables

if TYPE_CHECKING:
    import pandas as pd

_MOST_FIGURES = 8
_AXES = ("task", "target", "guide", "state", "distance", "mapping", "schedule")
_COLUMNS = [
    "replicate_id", "guide_id", "guide_moment", "moment", "guide_tap", "target_tap", "measure",
    "similarity",
]  # fmt: skip
_LEAD = (
    "How similar the layers of target and guide are, from 0 to 1, means over seeds: before training, "
    "after guided training, and after training without guidance. Guidance did what it should where "
    "the second map is brighter than the third."
)


def section(tables: StudyTables) -> Section | None:
    """A map of each guided condition; None where no taps were compared."""
    replicates = tables.frame("replicates")
    guided = replicates[
        (replicates["role"] == Role.guided) & (replicates["status"] == Status.finished)
    ]
    conditions = [(key, rows) for key, rows in guided.groupby([*_AXES], dropna=False, sort=False)]
    shown = [rows for _, rows in conditions[:_MOST_FIGURES]]
    ids = {
        str(name)
        for rows in shown
        for column in ("replicate_id", "baseline_id")
        for name in rows[column].dropna()
    }
    alignment = _alignment(tables, ids)
    if alignment.empty:
        return None
    gallery = Gallery("alignment", most_figures=_MOST_FIGURES, most_bytes=450_000)
    gallery.left_out = max(0, len(conditions) - _MOST_FIGURES)
    for rows in shown:
        first = rows.iloc[0]
        gallery.add(
            partial(plots.alignment, alignment, rows),
            f"{first['task']}: taps of {first['target']} and of {first['guide']}, "
            f"{first['state']}, {first['schedule']}",
        )
    return Section(
        anchor="alignment", title="Alignment", lead=_LEAD, blocks=gallery.close(tables.study)
    )


def _alignment(tables: StudyTables, ids: set[str]) -> pd.DataFrame:
    """Similarities of some replicates; the table is read in parts."""
    import pandas as pd

    parts: list[pd.DataFrame] = []

    def take(part: pa.Table) -> None:
        mask = is_in(part["replicate_id"], ids)
        if mask.any():
            found = part.filter(pa.array(mask)).to_pandas()
            texts = found.select_dtypes("category").columns
            parts.append(found.astype(dict.fromkeys(texts, object)))

    tables.batches("alignment", _COLUMNS, take)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=_COLUMNS)
