"""Heat maps as tables: guides x targets, task by task, of transfer, specific effect and priors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.contract import Status, is_rival
from analysis.report.blocks import Beside, Cell, Grid, GridRow, Heading, Note, Section
from analysis.report.numbers import ABOVE, BELOW, difference, interval, mark, present, unit
from analysis.report.outcomes import Key, Outcomes, outcomes
from analysis.report.tables import Row, StudyTables, condition_of

#: Steps of colour on either side of zero.
NUM_TONES = 5
#: Cells of all grids of a page: beyond these the tables have the rest.
MAX_CELLS = 12_000
#: Grids of at most so many columns show intervals in their cells; others where a pointer rests.
_COLUMNS_WITH_INTERVALS = 4
#: Grids of at most so many columns stand side by side.
_NARROW = 3
_WORDS = {ABOVE: "above zero", BELOW: "below zero", "": ""}
_STEPS = {
    "architecture_prior": "architecture prior: untrained guide minus unguided",
    "architecture_specific": "architecture-specific: untrained guide minus the closest of "
    "its controls and unguided",
    "knowledge": "knowledge: trained minus untrained guide",
    "total": "total: trained guide minus unguided",
    "geometry": "geometry: the guide's input minus unguided",
    "architecture_beyond_input": "beyond input: untrained guide minus its input",
    "label_part": "label part: labels minus unguided",
    "trained_beyond_labels": "beyond labels: trained guide minus labels",
}
#: Captions of grids of all quantities of one target, by file.
_ALL_OF = {"transfer.parquet": "Effects on", "priors.parquet": "Priors of"}
_LEAD = (
    "Rows are guides, and rivals where the study has any; columns are targets. A cell has colour "
    "where its 95% interval does not hold zero, the more the larger the effect: blue is better "
    f"than what is subtracted ({ABOVE}), orange worse ({BELOW}); * is a transfer that still counts "
    "among all rows of the study (q < .05); specific effects and priors are not adjusted, and have "
    "no stars. A number without a mark is not established; n/i means "
    "that there is no interval, for fewer than three seeds or where seeds do not differ. The "
    "closest control is the one over which guidance has the lowest lower limit."
)


@dataclass(frozen=True)
class Value:
    """A quantity of a row: its column, the column of its n, and a heading."""

    column: str
    n: str
    title: str

    @property
    def name(self) -> str:
        """The heading without its definition."""
        return self.title.partition(":")[0]


TRANSFER = Value("difference", "n", "transfer: guided minus unguided")
SPECIFIC = Value("specific", "specific_n", "specific effect: guided minus its closest control")
PRIORS = [Value(name, f"{name}_n", title) for name, title in _STEPS.items()]


def section(tables: StudyTables) -> Section:
    """The heat maps of a study: transfer and specific effect, and then the priors, by task."""
    blocks: list[Any] = []
    room = MAX_CELLS
    ended = outcomes(tables)
    left_out = 0
    for task in tables.tasks:
        metric = tables.primary_metrics.get(task)
        if metric is None:
            continue
        priors = [
            row for row in tables.rows("priors") if row["task"] == task and row["metric"] == metric
        ]
        treated = [*tables.guided(task), *tables.rivals(task)]
        blocks.append(Heading(text=task))
        for maps in (
            _maps(treated, [TRANSFER, SPECIFIC], metric, ended, "transfer.parquet"),
            _maps(priors, PRIORS, metric, {}, "priors.parquet"),
        ):
            kept: list[Grid] = []
            for grid in maps:
                if grid.size > room:
                    left_out += 1
                    continue
                room -= grid.size
                kept.append(grid)
            blocks += _beside(kept)
    if left_out:
        blocks.append(
            Note(
                text=f"{left_out} more heat maps are not shown, so that the page stays small: "
                "transfer.parquet and priors.parquet have them, and archprior plot draws them.",
                tone="quiet",
            )
        )
    return Section(anchor="heat-maps", title="Transfer and priors", lead=_LEAD, blocks=blocks)


def _beside(grids: list[Grid]) -> Sequence[Any]:
    """Grids of the same rows, side by side where they are narrow."""
    narrow = all(len(grid.columns) <= _NARROW and grid.named for grid in grids)
    return [Beside(blocks=grids)] if narrow and len(grids) > 1 else grids


def _maps(
    rows: Sequence[Row],
    values: Iterable[Value],
    metric: str,
    ended: Mapping[Key, Outcomes],
    file: str,
) -> list[Grid]:
    """Grids of each quantity that some row has; one grid of all where there is one target alone."""
    if not rows:
        return []
    shown = [value for value in values if any(present(row[value.column]) for row in rows)]
    shown = shown or [next(iter(values))]
    targets = list(dict.fromkeys(row["target"] for row in rows))
    table = _Pivot(rows, metric, ended, wide=len(targets) > _COLUMNS_WITH_INTERVALS)
    table.show(shown)
    where = f"{unit(metric)} of test {metric}" if unit(metric) != metric else f"test {metric}"
    where += "" if rows[0]["higher_is_better"] else " (positive is better)"
    if len(targets) == 1:
        return [
            Grid(
                caption=f"{_ALL_OF[file]} {targets[0]}",
                note=f"{where}. {'; '.join(value.title for value in shown)}.",
                corner="guide",
                columns=[value.name for value in shown],
                rows=table.rows([(targets[0], value) for value in shown]),
                named=False,
                file=file,
            )
        ]
    return [
        Grid(
            caption=value.title[0].upper() + value.title[1:],
            note=where,
            corner="guide",
            columns=targets,
            rows=table.rows([(target, value) for target in targets]),
            file=file,
        )
        for value in shown
    ]


class _Pivot:
    """Rows of conditions by guide and what else varies, and in these by target."""

    def __init__(
        self, rows: Sequence[Row], metric: str, ended: Mapping[Key, Outcomes], *, wide: bool
    ) -> None:
        self._metric, self._ended, self._wide = metric, ended, wide
        self._rows, self._scale = rows, 0.0
        axes = ("state", "distance", "mapping", "schedule")
        guided = [row for row in rows if not is_rival(row)]
        varying = [axis for axis in axes if len({row[axis] for row in guided}) > 1]
        self._found: dict[tuple[str, str], dict[str, Row]] = {}
        for row in rows:
            if is_rival(row):
                self._found.setdefault((row["treatment"], "rival"), {})[row["target"]] = row
                continue
            of = ", ".join(str(row[axis]) for axis in varying if row[axis] is not None)
            self._found.setdefault((row["guide"], of), {})[row["target"]] = row

    def show(self, values: Iterable[Value]) -> None:
        """Scale colours to the greatest of these that is established, so that they compare."""
        found = (
            abs(row[value.column])
            for value in values
            for row in self._rows
            if present(row[value.column]) and mark(*_limits(row, value))
        )
        self._scale = max((each for each in found if math.isfinite(each)), default=0.0)

    def rows(self, columns: Sequence[tuple[str, Value]]) -> list[GridRow]:
        """A row for each guide and what else varies; its cells are of these targets and values."""
        return [
            GridRow(
                name=guide,
                of=of,
                cells=[self.cell(found.get(target), value) for target, value in columns],
            )
            for (guide, of), found in self._found.items()
        ]

    def cell(self, row: Row | None, value: Value) -> Cell:
        """The cell of a condition, or of a pair that the study does not have."""
        if row is None:
            return Cell(text="", tone="none", title="not in this study")
        found = row[value.column]
        ended = self._ended.get(condition_of(row))
        if not present(found):
            return _without(row, ended) if value is TRANSFER else Cell(text="–", tone="none")
        low, high = _limits(row, value)
        limits, n = interval(found, low, high, self._metric), row[value.n]
        sign = mark(low, high)
        held = value is TRANSFER and present(row["p_adjusted"]) and row["p_adjusted"] < 0.05
        title = f"{difference(found, self._metric)} {limits or 'without interval'}, n {n}"
        if value is SPECIFIC:
            title += f", against {row['specific_control']}"
        if value is TRANSFER:
            title += f"; {row['verdict']}"
            if ended is not None and ended.words():
                title += f"; {ended.words()}" + (f": {ended.cause}" if ended.cause else "")
            if row["n_failed_baseline"]:
                title += f"; {row['n_failed_baseline']} unguided failed"
        return Cell(
            text=difference(found, self._metric),
            tone=self._tone(found) if sign else "p0",
            mark=(sign + ("*" if sign and held else "")) if limits else "n/i",
            words=_WORDS[sign] if limits else "no interval",
            small="" if self._wide else f"{limits} n {n}".strip() + _lost(row, ended, value),
            title=title,
            value=found,
        )

    def _tone(self, found: float) -> str:
        """Colour of an established value, on the scale of the greatest."""
        if self._scale == 0 or found == 0 or not math.isfinite(found):
            return "p0"
        step = min(NUM_TONES, max(1, math.ceil(NUM_TONES * abs(found) / self._scale)))
        return f"{'p' if found > 0 else 'n'}{step}"


def _limits(row: Row, value: Value) -> tuple[Any, Any]:
    """Limits of a quantity's interval; None where it has none."""
    return row.get(f"{value.column}_low"), row.get(f"{value.column}_high")


def _lost(row: Row, ended: Outcomes | None, value: Value) -> str:
    if value is not TRANSFER:
        return ""
    words = "" if ended is None else ended.words()
    unguided = row["n_failed_baseline"]
    parts = [words, f"{unguided} unguided failed" if unguided else ""]
    return "".join(f", {part}" for part in parts if part)


def _without(row: Row, ended: Outcomes | None) -> Cell:
    """The cell of a condition that has no result: failed, blocked, or to train."""
    if ended is None or not ended.lost:
        planned, unguided = row["n"] + row["n_failed"], row["n_failed_baseline"]
        if unguided and unguided == planned:
            return Cell(
                text="failed",
                tone="bad",
                mark="✕",
                words="no result",
                small=f"{unguided} of {planned} unguided",
                title="every unguided seed failed, so there is nothing to compare with",
            )
        waiting = "" if ended is None else ended.words()
        return Cell(text="to train", tone="wait", title=waiting or "not finished at a shared seed")
    failed = ended.counts[Status.failed]
    return Cell(
        text="failed" if failed else "blocked",
        tone="bad",
        mark="✕",
        words="no result",
        small=f"{ended.lost} of {ended.total}",
        title=f"{ended.words()}: {ended.cause or 'unknown cause'}",
    )
