"""Rows of estimates with intervals: a name at the left, dots and a line, numbers at the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from analysis.plots.style import (
    COLOURS,
    FONT,
    GREY,
    INK,
    LIGHT,
    LINE,
    PLAIN,
    SMALL,
    axes,
    bare,
    identifier,
    legend_below,
    message,
    missing,
    plain,
    shortened,
    text_width,
)
from analysis.plots.units import amount
from analysis.quantities import PLAIN as UNITLESS
from analysis.quantities import Unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Width of the part with the lines, in inches.
_WIDTH = 3.2
#: Marks of estimates, with their face.
_ESTABLISHED: dict[str, Any] = {"marker": "D", "markersize": 5, "markerfacecolor": INK}
_OPEN: dict[str, Any] = {"marker": "D", "markersize": 5, "markerfacecolor": "white"}
_WITHOUT: dict[str, Any] = {"marker": "x", "markersize": 5}
#: Looks of the bar of possible values.
_BAR: dict[str, Any] = {"color": LIGHT, "linewidth": 5, "solid_capstyle": "butt"}


@dataclass(frozen=True, kw_only=True)
class IntervalRow:
    """One estimate with its interval, or a heading over several rows; what is not known is null.

    `dots` are single seeds. `bounds` are the values that were possible at all. `note` stands after
    the numbers; it is all there is where `estimate` is None. Numbers are in `unit`.
    """

    name: str
    estimate: Any = None
    low: Any = None
    high: Any = None
    dots: Sequence[float] = ()
    bounds: tuple[float, float] | None = None
    note: str = ""
    heading: bool = False
    unit: Unit = UNITLESS

    def in_unit(self, unit: Unit) -> IntervalRow:
        """The row with its numbers, which are in the metric's own unit, in another."""
        estimate, low, high = (
            value if missing(value) else float(value) * unit.scale
            for value in (self.estimate, self.low, self.high)
        )
        dots = [dot * unit.scale for dot in self.dots]
        return replace(self, estimate=estimate, low=low, high=high, dots=dots, unit=unit)

    def numbers(self, *, signed: bool) -> str:
        """Estimate, interval and note in words."""
        known = not missing(self.estimate)
        amounts = amount(self.estimate, self.low, self.high, self.unit, signed=signed)
        return "  ".join(part for part in (*(amounts if known else ()), self.note) if part)

    @property
    def has_interval(self) -> bool:
        """Whether there is an estimate with an interval."""
        return not any(map(missing, (self.estimate, self.low, self.high)))

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval, and zero is not in it."""
        return self.has_interval and bool(self.low > 0 or self.high < 0)

    def mark(self, *, signed: bool) -> dict[str, Any]:
        """The mark of the estimate."""
        if not self.has_interval:
            return _WITHOUT
        return _ESTABLISHED if self.excludes_zero or not signed else _OPEN


def draw_rows(
    rows: Sequence[IntervalRow],
    ax: Axes | None,
    *,
    empty: str,
    signed: bool = True,
    bar: str = "",
) -> Axes:
    """Draw rows from the top down; zero is a line where `signed`.

    A filled diamond is an estimate whose interval excludes zero, an open one an estimate whose
    interval holds it, a cross one without an interval; a legend below says so of what there is.
    `bar` says what a bar behind an estimate is. Without rows the axes say `empty`.
    """
    names = shortened([row.name for row in rows])
    numbers = [row.numbers(signed=signed) for row in rows]
    ax = axes(
        ax,
        width=_WIDTH + text_width(names) + text_width(numbers) * SMALL / FONT,
        height=1.2 + 1.25 * LINE * max(len(rows), 3),
    )
    if not rows:
        return message(ax, empty)
    if signed:
        ax.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    right = blended_transform_factory(ax.transAxes, ax.transData)
    for place, (row, text) in enumerate(zip(rows, numbers, strict=True)):
        _draw_row(ax, place, row, f"{plain(row.name)}: {text}", signed=signed)
        ax.text(
            1.02, place, plain(text), transform=right, fontsize=SMALL, va="center", color=INK,
            **PLAIN,
        )  # fmt: skip
    ax.set_yticks(range(len(rows)), labels=names, fontsize=FONT, **PLAIN)
    for label, row in zip(ax.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if row.heading else "normal")
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=LIGHT, linewidth=0.5)
    ax.set_axisbelow(True)
    bare(ax, "bottom")
    ax.set_xlim(*_range(rows))
    _legend(ax, rows, bar, signed=signed)
    return ax


def share_range(panels: Sequence[Axes]) -> None:
    """Give panels of rows one range, so that their effects compare by eye; empty ones are left."""
    drawn = [ax for ax in panels if ax.axison]
    if drawn:
        lows, highs = zip(*(ax.get_xlim() for ax in drawn), strict=True)
        for ax in drawn:
            ax.set_xlim(min(lows), max(highs))


def _legend(ax: Axes, rows: Sequence[IntervalRow], bar: str, *, signed: bool) -> None:
    """The meanings of the marks that there are."""
    known = [row for row in rows if not missing(row.estimate)]
    marks = [row.mark(signed=signed) for row in known]
    lined: dict[str, Any] = {"color": INK, "linewidth": 1.4}
    names = {
        "mean, 95% interval without zero" if signed else "mean, 95% interval": _ESTABLISHED | lined,
        "interval holds zero": _OPEN | lined,
        "no interval": _WITHOUT | {"color": INK, "linestyle": ""},
    }
    shown = {
        name: look
        for (name, look), mark in zip(names.items(), (_ESTABLISHED, _OPEN, _WITHOUT), strict=True)
        if mark in marks
    }
    if any(len(row.dots) for row in rows):
        shown["a seed"] = {
            "marker": "o", "markersize": 3.2, "color": COLOURS[0], "alpha": 0.55,
            "markeredgewidth": 0, "linestyle": "",
        }  # fmt: skip
    if bar and any(row.bounds is not None for row in rows):
        shown[bar] = _BAR
    if shown:
        legend_below(ax, [Line2D([], [], **look) for look in shown.values()], [*shown])


def _range(rows: Sequence[IntervalRow]) -> tuple[float, float]:
    """Limits that hold zero, estimates, intervals, dots and bounds."""
    values = [float(v) for row in rows for v in (row.estimate, row.low, row.high) if not missing(v)]
    values += [float(dot) for row in rows for dot in row.dots]
    values += [float(bound) for row in rows if row.bounds is not None for bound in row.bounds]
    low, high = min(values, default=0), max(values, default=0)
    low, high = min(low, 0), max(high, 0)
    margin = 0.06 * (high - low) or 1
    return low - margin, high + margin


def _draw_row(ax: Axes, place: int, row: IntervalRow, words: str, *, signed: bool) -> None:
    if row.bounds is not None:
        low, high = row.bounds
        ax.plot([low, high], [place, place], **_BAR)
    if len(row.dots):
        # The dots of seeds lie a little lower, so that the diamond hides none of them.
        ax.scatter(
            row.dots, [place + 0.22] * len(row.dots), s=10, color=COLOURS[0], alpha=0.55,
            linewidths=0, zorder=3, label=f"{words} (seeds)", gid=identifier(ax, "seeds", place),
        )  # fmt: skip
    if missing(row.estimate):
        return
    if row.has_interval:
        ax.plot(
            [row.low, row.high], [place, place], color=INK, linewidth=1.4, zorder=4, label=words,
            gid=identifier(ax, "interval", place),
        )  # fmt: skip
    ax.plot(
        [row.estimate], [place], color=INK, zorder=5, linestyle="", label=words,
        gid=identifier(ax, "estimate", place), **row.mark(signed=signed),
    )  # fmt: skip
