"""Alignment maps as tables: guide taps x target taps, before training, guided, and unguided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from analysis import alignment_rows
from analysis.contract import Role, Status
from analysis.report.blocks import Beside, Cell, Grid, GridRow, Heading, Note, Section
from analysis.report.numbers import ABSENT, count, number, present
from analysis.report.selected import is_in
from analysis.report.tables import StudyTables

if TYPE_CHECKING:
    import pandas as pd

#: Guided conditions, and cells of one map, that the page shows.
_MOST_CONDITIONS, _MOST_CELLS = 12, 900
_AXES = ("task", "target", "guide", "state", "distance", "mapping", "schedule")
_COLUMNS = [
    "replicate_id", "guide_id", "guide_moment", "moment", "guide_tap", "target_tap", "measure",
    "similarity",
]  # fmt: skip
#: Words of the page for the name of a map.
_WORDS = {alignment_rows.UNGUIDED: "without guidance"}
#: Steps of colour from 0 to 1.
_NUM_TONES = 10
_LEAD = (
    "How similar layers of guide (rows) and target (columns) are, from 0 to 1, means over seeds: "
    "before training, after guided training, and after training without guidance. The stronger the "
    "colour, the more similar. Guidance did what it should where the second map shows more "
    "similarity than the third."
)


def section(tables: StudyTables) -> Section | None:
    """Maps of each guided condition; None where no taps were compared."""
    replicates = tables.frame("replicates")
    guided = replicates[
        (replicates["role"] == Role.guided) & (replicates["status"] == Status.finished)
    ]
    conditions = [rows for _, rows in guided.groupby([*_AXES], dropna=False, sort=False)]
    shown = conditions[:_MOST_CONDITIONS]
    alignment = _alignment(tables, {name for rows in shown for name in _ids(rows)})
    varying = [axis for axis in _AXES if guided[axis].nunique(dropna=False) > 1]
    blocks: list[Any] = []
    measures: dict[str, None] = {}
    for rows in shown:
        found = alignment_rows.maps(alignment, rows)
        if found:
            names = varying or ["guide", "target"]
            blocks.append(Heading(text=_name(rows.iloc[0], names)))
            blocks.append(Beside(blocks=list(_maps(found))))
            measures |= {str(each["measure"].iloc[0]): None for each in found.values()}
    if not blocks:
        return None
    blocks.insert(0, Note(text=f"Measure: {', '.join(measures)}.", tone="quiet"))
    if len(conditions) > len(shown):
        text = (
            f"{count(len(conditions) - len(shown))} more guided conditions are not shown: "
            "alignment.parquet has them."
        )
        blocks.append(Note(text=text, tone="quiet"))
    return Section(anchor="alignment", title="Alignment", lead=_LEAD, blocks=blocks)


def _ids(rows: pd.DataFrame) -> Iterator[str]:
    for column in ("replicate_id", "baseline_id"):
        yield from rows[column].dropna()


def _name(row: pd.Series[Any], names: list[str]) -> str:
    """A condition in words: `digits: fcn, resnet2d untrained, alpha=1`."""
    return ", ".join(str(row[name]) for name in names if present(row[name]))


def _maps(blocks: Mapping[str, pd.DataFrame]) -> Iterator[Grid | Note]:
    for key, rows in blocks.items():
        name = _WORDS.get(key, key)
        means = rows.groupby(["guide_tap", "target_tap"], sort=False)["similarity"].mean()
        table = means.unstack("target_tap").reindex(
            index=rows["guide_tap"].drop_duplicates(), columns=rows["target_tap"].drop_duplicates()
        )
        if table.size > _MOST_CELLS:
            yield Note(
                text=f"{name}: {table.shape[0]} x {table.shape[1]} taps, in alignment.parquet"
            )
            continue
        n = rows["replicate_id"].nunique()
        yield Grid(
            caption=name[0].upper() + name[1:],
            note=f"n {n}",
            corner="guide tap",
            columns=[str(tap) for tap in table.columns],
            rows=[
                GridRow(
                    name=str(tap),
                    of="",
                    cells=[
                        _cell(value, f"{name}, {tap} and {other}: ")
                        for other, value in zip(table.columns, values, strict=True)
                    ],
                )
                for tap, values in zip(table.index, table.to_numpy(dtype=float), strict=True)
            ],
            quiet=True,
        )


def _cell(value: float, words: str) -> Cell:
    if not np.isfinite(value):
        return Cell(text=ABSENT, tone="none", title=f"{words}not defined")
    step = int(np.clip(np.floor(value * _NUM_TONES), 0, _NUM_TONES - 1))
    shown = f"{value:.2f}".replace("0.", ".", 1).replace("-", "−")
    return Cell(text=shown, tone=f"s{step}", title=f"{words}{number(value)}", value=value)


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
