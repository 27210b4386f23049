"""Rows of estimates with intervals: a name at the left, dots and a line, numbers at the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

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
    def excludes_zero(self) -> bool:
        """Whether there is an interval, and zero is not in it."""
        known = not missing(self.low) and not missing(self.high)
        return known and bool(self.low > 0 or self.high < 0)


def draw_rows(
    rows: Sequence[IntervalRow], ax: Axes | None, *, empty: str, signed: bool = True
) -> Axes:
    """Draw rows from the top down; zero is a line where `signed`.

    A filled diamond is an estimate whose interval excludes zero, an open one an estimate whose
    interval holds it, a cross one without an interval. Without rows the axes say `empty`.
    """
    names = shortened([row.name for row in rows])
    numbers = [row.numbers(signed=signed) for row in rows]
    ax = axes(
        ax,
        width=_WIDTH + text_width(names) + text_width(numbers) * SMALL / FONT,
        height=0.8 + 1.25 * LINE * max(len(rows), 3),
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
    return ax


def _range(rows: Sequence[IntervalRow]) -> tuple[float, float]:
    """Limits that hold zero, estimates, intervals and dots; bounds may lie outside."""
    values = [float(v) for row in rows for v in (row.estimate, row.low, row.high) if not missing(v)]
    values += [float(dot) for row in rows for dot in row.dots]
    low, high = min(values, default=0), max(values, default=0)
    low, high = min(low, 0), max(high, 0)
    margin = 0.06 * (high - low) or 1
    return low - margin, high + margin


def _draw_row(ax: Axes, place: int, row: IntervalRow, words: str, *, signed: bool) -> None:
    if row.bounds is not None:
        low, high = row.bounds
        ax.plot([low, high], [place, place], color=LIGHT, linewidth=5, solid_capstyle="butt")
    if len(row.dots):
        # The dots of seeds lie a little lower, so that the diamond hides none of them.
        ax.scatter(
            row.dots, [place + 0.22] * len(row.dots), s=10, color=COLOURS[0], alpha=0.55,
            linewidths=0, zorder=3, label=f"{words} (seeds)", gid=identifier(ax, "seeds", place),
        )  # fmt: skip
    if missing(row.estimate):
        return
    if not missing(row.low) and not missing(row.high):
        ax.plot(
            [row.low, row.high], [place, place], color=INK, linewidth=1.4, zorder=4, label=words,
            gid=identifier(ax, "interval", place),
        )  # fmt: skip
        filled = row.excludes_zero or not signed
        ax.plot(
            [row.estimate], [place], marker="D", markersize=5, color=INK, zorder=5, linestyle="",
            markerfacecolor=INK if filled else "white", label=words,
            gid=identifier(ax, "estimate", place),
        )  # fmt: skip
    else:
        ax.plot(
            [row.estimate], [place], marker="x", markersize=5, color=INK, zorder=5, linestyle="",
            label=words, gid=identifier(ax, "estimate", place),
        )  # fmt: skip
