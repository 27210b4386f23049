"""Heat map of guides x targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.patches import Rectangle

from analysis.cells import records
from analysis.errors import UserError
from analysis.plots import selection
from analysis.plots.style import (
    ABOVE,
    BELOW,
    DIVERGING,
    FONT,
    GREY,
    INK,
    LIGHT,
    PLAIN,
    SEQUENTIAL,
    SMALL,
    axes,
    axis_names,
    bare,
    identifier,
    message,
    missing,
    plain,
    shortened,
    sign,
    text_width,
    title,
)
from analysis.plots.units import amount, in_unit, unit_of_column, with_unit
from analysis.quantities import Unit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: Hatches of cells without a number: no such condition, and one without a result.
NOT_PLANNED, NO_RESULT = "....", "xxxx"
#: Colour of cells whose effect is not established.
NEUTRAL = "#f0f0f0"
#: Up to so many columns are made wider, up to so many inches, so that their names lie flat.
FEW_COLUMNS, MOST_WIDTH = 4, 2.6
#: Columns that a row of the matrix has beside its guide, where they differ.
_BESIDE = ("study", "state", "distance", "mapping", "schedule")


@dataclass(frozen=True, kw_only=True)
class _Detail:
    """How much a cell shows, by the number of rows and columns; sizes in inches."""

    width: float
    height: float
    lines: int


_DETAILS = {
    8: _Detail(width=1.2, height=0.52, lines=3),
    20: _Detail(width=0.62, height=0.36, lines=2),
    10**9: _Detail(width=0.2, height=0.2, lines=1),
}


def matrix(
    transfer: pd.DataFrame,
    *,
    value: str = "difference",
    metric: str | None = None,
    task: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a column of `transfer` or `priors` as a map of guides (rows) x targets (columns).

    Effects are coloured from orange (worse) to blue (better) where they have an interval that does
    not hold zero, on the scale of the largest of these; other columns by a scale of one direction.
    `▲` and `▼` mark intervals that are above and below zero. A cell without a result is hatched and
    says what became of its seeds; a pair that was not planned is dotted. Up to 8 x 8 cells show
    estimate, interval and n, up to 20 x 20 estimate and n, more the marks alone. Differences of
    accuracies are in points, their values in percent.

    Args:
        transfer: the table `transfer` (of which guided rows are shown) or `priors`.
        value: the column shown.
        metric: its test metric; by default the task's primary one.
        task: label of its task; needed where the table has several.
        ax: axes to draw on; by default new ones.

    Raises UserError where a task must be chosen, or the value is no column of numbers.
    """
    selection.need(transfer, "a matrix", "guide", "target", "task", "metric", value)
    rows = selection.of_metric(selection.where(transfer, task=task), metric)
    if "control" in rows.columns:
        rows = rows[rows["control"].isna() | (rows["control"] == "none")]
    found = selection.one(rows, "task", "a matrix")
    measured = selection.one(rows, "metric", "a matrix")
    beside = [*selection.treatments(rows), *selection.differing(rows, _BESIDE)]
    guides, targets = selection.names(rows, beside), rows["target"].astype(str).tolist()
    places = {name: place for place, name in enumerate(dict.fromkeys(guides))}
    columns = {name: place for place, name in enumerate(dict.fromkeys(targets))}
    row_names, column_names = shortened(list(places)), shortened(list(columns))
    ax, detail, slanted = _sized(ax, row_names, column_names)
    unit = unit_of_column(value, measured or "")
    rows = in_unit(rows, value, unit)
    words = f"{plain(found or '')}: {value.replace('_', ' ')} in {plain(measured or '')}"
    if rows.empty:
        return message(ax, "no guided conditions")
    cells = _by_place(rows, zip(guides, targets, strict=True), places, columns)
    shown = _Shown(ax, value, unit, row_names, column_names, detail)
    _draw(ax, cells, (len(places), len(columns)), shown)
    kinds = "guide or rival" if rows["guide"].isna().any() else "guide"
    _label(ax, row_names, column_names, kinds, slanted=slanted)
    title(ax, with_unit(words, unit), _key(cells, value, detail))
    return ax


def _by_place(
    rows: pd.DataFrame,
    names: Iterable[tuple[str, str]],
    places: Mapping[str, int],
    columns: Mapping[str, int],
) -> dict[tuple[int, int], dict[str, Any]]:
    """Rows by their place; UserError where two have the same names of guide and target."""
    cells: dict[tuple[int, int], dict[str, Any]] = {}
    for (guide, target), row in zip(names, records(rows), strict=True):
        if cells.setdefault((places[guide], columns[target]), row) is not row:
            raise UserError(f"a matrix has one value a cell, but {guide} -> {target} has several")
    return cells


def _sized(
    ax: Axes | None, row_names: Sequence[str], column_names: Sequence[str]
) -> tuple[Axes, _Detail, bool]:
    """Axes with room for rows and columns, what their cells show, and if names are slanted."""
    most = max(len(row_names), len(column_names))
    detail = next(each for size, each in _DETAILS.items() if most <= size)
    widest = text_width(column_names)
    if len(column_names) <= FEW_COLUMNS:
        detail = replace(detail, width=max(detail.width, min(widest, MOST_WIDTH)))
    slanted = widest > detail.width
    ax = axes(
        ax,
        width=1.5 + text_width(row_names) + detail.width * max(len(column_names), 2),
        height=0.9 + detail.height * max(len(row_names), 2) + (widest * 0.75 if slanted else 0.3),
    )
    return ax, detail, slanted


@dataclass(frozen=True)
class _Shown:
    """Axes, column, its unit, names and detail that all cells of a matrix share."""

    ax: Axes
    value: str
    unit: Unit
    rows: list[str]
    columns: list[str]
    detail: _Detail

    def limits(self, cell: dict[str, Any]) -> tuple[Any, Any]:
        """The interval of a cell's value; None where it has none."""
        return cell.get(f"{self.value}_low"), cell.get(f"{self.value}_high")

    def is_established(self, cell: dict[str, Any]) -> bool:
        """Whether a cell's value has an interval, and that does not hold zero."""
        return not missing(cell[self.value]) and bool(sign(*self.limits(cell)))

    def amount(self, cell: dict[str, Any], *, signed: bool) -> tuple[str, str]:
        """A cell's value and its interval in words."""
        low, high = self.limits(cell)
        if not signed:
            low = high = None
        return amount(cell[self.value], low, high, self.unit, signed=signed)


def _draw(
    ax: Axes, cells: dict[tuple[int, int], dict[str, Any]], shape: tuple[int, int], shown: _Shown
) -> None:
    """Draw cells, and the scale of their colours."""
    values = _numbers(cells, shown.value)
    signed = _has_interval(cells, shown.value)
    if signed:
        values = [float(cell[shown.value]) for cell in cells.values() if shown.is_established(cell)]
    colours = _colours(values, signed=signed)
    for row in range(shape[0]):
        for column in range(shape[1]):
            _draw_cell(shown, (row, column), cells.get((row, column)), colours, signed=signed)
    if values:
        bar = ax.figure.colorbar(colours, ax=ax, shrink=0.8, aspect=25)
        bar.ax.tick_params(labelsize=SMALL)
        bar.outline.set_visible(False)
    ax.set_xlim(-0.5, shape[1] - 0.5)
    ax.set_ylim(shape[0] - 0.5, -0.5)


def _numbers(cells: dict[tuple[int, int], dict[str, Any]], value: str) -> list[float]:
    try:
        return [float(cell[value]) for cell in cells.values() if not missing(cell[value])]
    except (TypeError, ValueError) as error:
        raise UserError(f"a matrix shows numbers, and {value!r} is no column of numbers") from error


def _colours(values: list[float], *, signed: bool) -> ScalarMappable:
    """Colours of values; those of effects have zero in their middle."""
    if signed:
        most = max(map(abs, values), default=0) or 1
        return ScalarMappable(Normalize(-most, most), DIVERGING)
    low, high = min(values, default=0), max(values, default=1)
    spread = 0 if high > low else max(abs(low), 1) / 2
    return ScalarMappable(Normalize(low - spread, high + spread), SEQUENTIAL)


def _draw_cell(
    shown: _Shown,
    place: tuple[int, int],
    cell: dict[str, Any] | None,
    colours: ScalarMappable,
    *,
    signed: bool,
) -> None:
    row, column = place
    ax, value = shown.ax, None if cell is None else cell[shown.value]
    face: Any = "white" if missing(value) else _face(shown, cell or {}, colours, signed=signed)
    hatch = NOT_PLANNED if cell is None else NO_RESULT if missing(value) else None
    text = "" if cell is None else _text(shown, cell, signed=signed)
    words = "not planned" if cell is None else _words(shown, cell, signed=signed)
    ax.add_artist(
        Rectangle(
            (column - 0.5, row - 0.5), 1, 1, facecolor=face, hatch=hatch,
            edgecolor="white" if hatch is None else LIGHT, linewidth=0.5,
            label=f"{shown.rows[row]} -> {shown.columns[column]}: {words}",
            gid=identifier(ax, "cell", row, column), in_layout=False,
        )
    )  # fmt: skip
    if text:
        box = None if hatch is None else {"facecolor": "white", "edgecolor": "none", "pad": 1}
        ax.text(
            column, row, text, ha="center", va="center", fontsize=SMALL, bbox=box,
            color=GREY if hatch else ink_on(face), in_layout=False, **PLAIN,
        )  # fmt: skip


def _face(shown: _Shown, cell: dict[str, Any], colours: ScalarMappable, *, signed: bool) -> Any:
    """The colour of a cell that has a value: of an effect only where it is established."""
    if signed and not shown.is_established(cell):
        return to_rgba(NEUTRAL)
    return colours.to_rgba(float(cell[shown.value]))  # type: ignore[arg-type]


def _has_interval(cells: dict[tuple[int, int], dict[str, Any]], value: str) -> bool:
    """Whether a column is of effects, which have intervals."""
    return any(f"{value}_low" in cell for cell in cells.values())


def ink_on(face: tuple[float, ...]) -> str:
    """Black or white, whichever is read better on a colour (contrast of WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in face[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return INK if (luminance + 0.05) / 0.06 > 1.05 / (luminance + 0.05) else "white"


def _text(shown: _Shown, cell: dict[str, Any], *, signed: bool) -> str:
    """Text inside a cell, in as many lines as it has room for."""
    mark = sign(*shown.limits(cell))
    if missing(cell[shown.value]):
        return "" if shown.detail.lines == 1 else _lost(cell)
    if shown.detail.lines == 1:
        return mark
    value, limits = shown.amount(cell, signed=signed)
    lines = [" ".join(filter(None, (mark, value)))]
    if shown.detail.lines == 3:
        lines.append(limits)
    return "\n".join(filter(None, [*lines, _count(shown, cell)]))


def _words(shown: _Shown, cell: dict[str, Any], *, signed: bool) -> str:
    if missing(cell[shown.value]):
        return _lost(cell)
    found = " ".join(shown.amount(cell, signed=signed)).strip()
    verdict = "" if missing(cell.get("verdict")) else str(cell["verdict"])
    return ", ".join(filter(None, [found, _count(shown, cell), verdict]))


def _count(shown: _Shown, cell: dict[str, Any]) -> str:
    """Number of seeds that a value is over, and of those that failed."""
    number_of = selection.num_seeds(cell, shown.value)
    if missing(number_of):
        return ""
    failed = _failed(cell)
    return f"n {number_of}, {failed} failed" if failed else f"n {number_of}"


def _failed(cell: dict[str, Any]) -> int:
    counts = (cell.get("n_failed_guided"), cell.get("n_failed_baseline"))
    return sum(int(count) for count in counts if count is not None and not missing(count))


def _lost(cell: dict[str, Any]) -> str:
    """Why a cell has no value."""
    failed = _failed(cell)
    if failed:
        return f"failed: {failed}"
    return "no result yet" if cell.get("n") == 0 else "not known"


def _label(ax: Axes, rows: list[str], columns: list[str], kinds: str, *, slanted: bool) -> None:
    """Name rows, whose `kinds` are, and columns, which are targets."""
    ax.set_xticks(range(len(columns)), labels=columns, fontsize=FONT, **PLAIN)
    ax.set_yticks(range(len(rows)), labels=rows, fontsize=FONT, **PLAIN)
    if slanted:
        for label in ax.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")
    ax.tick_params(length=0)
    axis_names(ax, "target", kinds)
    bare(ax)


def _key(cells: dict[tuple[int, int], dict[str, Any]], value: str, detail: _Detail) -> str:
    """Meanings of the marks, and the number of seeds where cells do not say it."""
    signs = {sign(cell.get(f"{value}_low"), cell.get(f"{value}_high")) for cell in cells.values()}
    parts = [f"{mark} interval {where} zero" for mark, where in ((ABOVE, "above"), (BELOW, "below"))
             if mark in signs]  # fmt: skip
    if _has_interval(cells, value) and "" in signs:
        parts.append("grey: no interval, or one that holds zero")
    counts = sorted({int(cell["n"]) for cell in cells.values() if not missing(cell.get("n"))})
    if detail.lines == 1 and counts:
        parts.append(f"n {counts[0]}" if len(counts) == 1 else f"n {counts[0]} to {counts[-1]}")
    return ", ".join(parts)
