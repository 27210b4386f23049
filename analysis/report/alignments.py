"""Alignment maps as tables: guide taps x target taps, before training, guided, and unguided."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis import alignment_rows
from analysis.contract import DISTANCE, Role, Status
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
#: Maps in the page's order: where two stand side by side, they are those to compare.
_ORDER = (alignment_rows.GUIDED, alignment_rows.UNGUIDED, alignment_rows.BEFORE)
#: Steps of colour from 0 to 1.
_NUM_TONES = 10
_LEAD = (
    "How similar layers of guide (rows) and target (columns) are, from 0 to 1, means over seeds: "
    "after guided training, after training without guidance, and before training. The stronger the "
    "colour, the more similar; pairs that guidance maps have a frame. Guidance did what it should "
    "where these are more similar in the guided map than in the one without guidance."
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
    pairs = _pairs(tables, {name for rows in shown for name in rows["replicate_id"]})
    varying = [axis for axis in _AXES if guided[axis].nunique(dropna=False) > 1]
    blocks: list[Any] = []
    measures: dict[str, None] = {}
    for rows in shown:
        own = {pair for name in rows["replicate_id"] for pair in pairs.get(name, ())}
        guides = alignment_rows.guides_of(rows)
        for part in guides or [None]:
            found = alignment_rows.maps(alignment, rows, part=part)
            if not found:
                continue
            beside = f", beside {guides[part]}" if part else ""
            name = _name(rows.iloc[0], varying or ["guide", "target"])
            blocks.append(Heading(text=name + beside))
            mapped = alignment_rows.of_part(own, part)
            blocks.append(Beside(blocks=list(_maps(found, mapped))))
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


def _maps(
    blocks: Mapping[str, pd.DataFrame], mapped: Collection[tuple[str, str]]
) -> Iterator[Grid | Note]:
    for key in filter(blocks.__contains__, _ORDER):
        rows, name = blocks[key], _WORDS.get(key, key)
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
                        _cell(value, f"{name}, {tap} and {other}: ", (other, tap) in mapped)
                        for other, value in zip(table.columns, values, strict=True)
                    ],
                )
                for tap, values in zip(table.index, table.to_numpy(dtype=float), strict=True)
            ],
            quiet=True,
        )


def _cell(value: float, words: str, mapped: bool) -> Cell:
    frame, said = (" mapped", ", mapped") if mapped else ("", "")
    if not np.isfinite(value):
        return Cell(text=ABSENT, tone=f"none{frame}", title=f"{words}not defined{said}")
    step = int(np.clip(np.floor(value * _NUM_TONES), 0, _NUM_TONES - 1))
    shown = f"{value:.2f}".replace("0.", ".", 1).replace("-", "−")
    return Cell(
        text=shown, tone=f"s{step}{frame}", title=f"{words}{number(value)}{said}", value=value
    )


def _pairs(tables: StudyTables, ids: set[str]) -> dict[str, set[tuple[str, str]]]:
    """Pairs (target tap, guide tap) that guidance maps, by replicate; read in parts."""
    found: dict[str, set[tuple[str, str]]] = {}

    def take(part: pa.Table) -> None:
        metrics = part["metric"].cast(pa.string())
        part = part.set_column(part.column_names.index("metric"), "metric", metrics)
        part = part.filter(pc.starts_with(part["metric"], DISTANCE))
        part = part.filter(pa.array(is_in(part["replicate_id"], ids), pa.bool_()))
        for row in part.group_by(["replicate_id", "metric"]).aggregate([]).to_pylist():
            pair = alignment_rows.pair_of(row["metric"])
            found.setdefault(row["replicate_id"], set()).add(pair)

    tables.batches("history", ["replicate_id", "metric"], take)
    return found


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
