"""Effect of guidance over a dial: its weight alpha, its stop step, the weight of a mixture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from analysis.contract import CONDITION_COLUMNS
from analysis.errors import UserError
from analysis.plots import selection
from analysis.plots.style import (
    COLOURS,
    DASHES,
    GREY,
    MARKERS,
    axes,
    axis_names,
    identifier,
    legend,
    message,
    missing,
    plain,
    ruled,
    shortened,
    text_width,
    title,
)
from analysis.plots.units import amount, in_unit, unit_of_column, with_unit
from analysis.quantities import Unit

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: Points on paper between two lines at one setting.
APART = 5
#: Columns of dials that have a name of their own.
_COLUMNS = {"weight": "share"}
#: From this ratio of the largest to the smallest setting on, the dial has a logarithmic scale.
LOGARITHMIC_FROM = 8


def dial(
    table: pd.DataFrame,
    *,
    x: str = "alpha",
    value: str = "difference",
    metric: str | None = None,
    task: str | None = None,
    target: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw an effect over a dial, with 95% intervals; a line for whatever else differs.

    Args:
        table: the table `transfer`, of which guided rows are shown; for the dial `weight` the table
            `dials`, of which all are.
        x: the dial: a column of numbers such as `alpha` or `stop_step`, or `weight`: the share of
            the first guide in mixtures of the same guides, whatever their states.
        value: the column shown, such as `difference` or `specific`.
        metric: a test metric; by default the task's primary one.
        task: label of the task; needed where the table has several.
        target: label of a target; by default all.
        ax: axes to draw on; by default new ones.

    A filled marker has an interval that excludes zero, an open one an interval that holds it or
    none. Differences of accuracies are in points, their values in percent. Raises UserError where
    there is no such dial, or a task must be chosen.
    """
    needed = ["mixture", "share"] if x == "weight" else [x]
    selection.need(table, "a dial", "guide", "target", "task", "metric", value, *needed)
    rows = _guided(selection.where(table, task=task, target=target), x, metric)
    found, measured = (selection.one(rows, column, "a dial") for column in ("task", "metric"))
    placed = _on_column(rows, _COLUMNS.get(x, x))
    unit = unit_of_column(value, measured or "")
    placed = in_unit(placed[placed[value].notna()], value, unit)
    lines = _lines(placed, selection.differing(placed, _naming(x)))
    names = shortened([name for name, _ in lines])
    ax = axes(ax, width=4.2 + text_width(names), height=3)
    if placed.empty:
        return message(ax, f"no guided conditions with a result and a {x.replace('_', ' ')}")
    ax.axhline(0, color=GREY, linewidth=0.8)
    for place, ((_, each), name) in enumerate(zip(lines, names, strict=True)):
        line = _Line(place, name, value, unit, _beside(ax, place, len(lines)))
        _draw(ax, line, each.sort_values("dial", kind="stable"))
    if len(lines) > 1:
        legend(ax, [_handle(place) for place in range(len(lines))], names)
    _scale(ax, placed, value, logarithmic=x != "weight")
    title(ax, plain(found or ""), plain(target or ""))
    axis_names(ax, _dial_name(placed, x), _effect_name(placed, value, measured or "", unit))
    return ruled(ax, "y")


def _guided(rows: pd.DataFrame, x: str, metric: str | None) -> pd.DataFrame:
    """Rows of a metric, without controls; mixtures by their weights have none."""
    found = selection.of_metric(rows, metric)
    return found if x == "weight" else found[found["control"] == "none"]


def _lines(placed: pd.DataFrame, naming: Sequence[str]) -> list[tuple[str, pd.DataFrame]]:
    """Name and rows of each line."""
    if not naming:
        return [("", placed)]
    groups = placed.groupby([*naming], dropna=False, sort=False)
    return [(selection.names(each.iloc[:1], naming)[0], each) for _, each in groups]


def dials(transfer: pd.DataFrame, mixtures: pd.DataFrame) -> list[str]:
    """The dials that a study turned: those on which guided conditions have several settings.

    `mixtures` are rows of the table `dials`.
    """
    guided = transfer[transfer["control"] == "none"]
    found = [x for x in ("alpha", "stop_step") if guided[x].nunique() > 1]
    return [*found, "weight"] if mixtures["share"].nunique() > 1 else found


def of_mixtures(dials: pd.DataFrame, transfer: pd.DataFrame) -> pd.DataFrame:
    """Rows of the table `dials` with the further columns of their rows of `transfer`."""
    keys = [*CONDITION_COLUMNS, "metric"]
    more = [column for column in transfer.columns if column not in dials.columns]
    return dials.merge(transfer[[*keys, *more]], on=keys, how="inner", validate="many_to_one")


def _naming(x: str) -> list[str]:
    """Columns that tell lines apart: not the dial, nor the labels that it is part of."""
    if x == "weight":
        columns = [c for c in selection.NAMING if c not in ("guide", "state", "control")]
        return [*columns, "mixture"]
    inside = ["schedule"] if x in ("alpha", "stop_step") else []
    columns = [column for column in selection.NAMING if column not in (*inside, "control")]
    beside = {"alpha": ["stop_step"], "stop_step": ["alpha"]}.get(x, [])
    return [*columns, *beside]


def _dial_name(placed: pd.DataFrame, x: str) -> str:
    if x != "weight":
        return x.replace("_", " ")
    mixtures = placed["mixture"].unique()
    of = f"\n{plain(mixtures[0])}" if len(mixtures) == 1 else ""
    return f"share of the first guide{of}"


def _effect_name(placed: pd.DataFrame, value: str, metric: str, unit: Unit) -> str:
    """Name of the axis of effects; a column with an interval is a difference, whose sign counts."""
    words = with_unit(f"{value.replace('_', ' ')} in {plain(metric)}", unit)
    return f"{words} (positive is better)" if f"{value}_low" in placed.columns else words


def _on_column(rows: pd.DataFrame, x: str) -> pd.DataFrame:
    try:
        placed = rows.assign(dial=rows[x].astype("Float64").astype(float))
    except (TypeError, ValueError) as error:
        raise UserError(f"a dial is a column of numbers, and {x!r} is none") from error
    return placed.dropna(subset="dial")


def _beside(ax: Axes, place: int, count: int) -> dict[str, Any]:
    """Moves a line of several sideways, by points on paper, so that intervals do not cover others.

    The data stay where they are.
    """
    figure = ax.get_figure(root=True)
    assert figure is not None
    points = APART * (place - (count - 1) / 2)
    shift = ScaledTranslation(points / 72, 0, figure.dpi_scale_trans)
    return {"transform": ax.transData + shift}


@dataclass(frozen=True)
class _Line:
    """A line of a dial: its place among them, name, column with its unit, and where it is moved."""

    place: int
    name: str
    value: str
    unit: Unit
    looks: dict[str, Any]

    @property
    def colour(self) -> str:
        """The colour of the line and its points."""
        return COLOURS[self.place % len(COLOURS)]


def _draw(ax: Axes, line: _Line, rows: pd.DataFrame) -> None:
    x = rows["dial"].to_numpy(dtype=float)
    # Of three guides several settings may give the first one the same share.
    joined = rows["dial"].is_unique
    ax.plot(
        x, rows[line.value].to_numpy(dtype=float), color=line.colour, linewidth=1.2,
        linestyle=DASHES[line.place % len(DASHES)] if joined else "",
        label=line.name or line.value,
        gid=identifier(ax, "dial", line.place), **line.looks,
    )  # fmt: skip
    for point, row in enumerate(rows.to_dict("records")):
        _draw_point(ax, line, point, row)


def _draw_point(ax: Axes, line: _Line, point: int, row: dict[Any, Any]) -> None:
    value, colour = row[line.value], line.colour
    low: Any = row.get(f"{line.value}_low")
    high: Any = row.get(f"{line.value}_high")
    known = not missing(low) and not missing(high)
    filled = known and (low > 0 or high < 0)
    if known:
        ax.plot([row["dial"]] * 2, [low, high], color=colour, linewidth=1.2, **line.looks)
    words = " ".join(amount(value, low, high, line.unit, signed=True)).strip()
    n = selection.num_seeds(row, line.value)
    setting = row.get("weights") or f"{row['dial']:g}"
    ax.plot(
        [row["dial"]], [value], linestyle="", marker=MARKERS[line.place % len(MARKERS)],
        markersize=5.5, color=colour, markerfacecolor=colour if filled else "white",
        label=f"{setting}: {words}, n {'–' if missing(n) else n}",
        gid=identifier(ax, "point", line.place, point), **line.looks,
    )  # fmt: skip


def _handle(place: int) -> Line2D:
    return Line2D(
        [], [], color=COLOURS[place % len(COLOURS)], linestyle=DASHES[place % len(DASHES)],
        marker=MARKERS[place % len(MARKERS)], markersize=5,
    )  # fmt: skip


def _scale(ax: Axes, rows: pd.DataFrame, value: str, *, logarithmic: bool) -> None:
    """Limits that hold all; a logarithmic scale where settings are far apart, ticks at a few."""
    settings = np.unique(rows["dial"].to_numpy(dtype=float))
    low, high = float(settings[0]), float(settings[-1])
    if logarithmic and low > 0 and high / low >= LOGARITHMIC_FROM:
        ax.set_xscale("log")
        ax.set_xticks([], minor=True)
        margin = (high / low) ** 0.1
        ax.set_xlim(low / margin, high * margin)
    else:
        margin = 0.1 * (high - low) or 1
        ax.set_xlim(low - margin, high + margin)
    columns = [c for c in (value, f"{value}_low", f"{value}_high") if c in rows.columns]
    heights = rows[columns].to_numpy(dtype=float, na_value=np.nan)
    heights = heights[np.isfinite(heights)]
    bottom, top = min(heights.min(), 0), max(heights.max(), 0)
    margin = 0.06 * (top - bottom) or 1
    ax.set_ylim(bottom - margin, top + margin)
    if len(settings) <= 12:
        ax.set_xticks(settings, labels=[f"{setting:g}" for setting in settings])
