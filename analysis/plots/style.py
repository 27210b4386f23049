"""Looks that all figures share: sizes, colours, numbers in words, and names as plain text."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

from analysis.quantities import fixed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Font sizes in points: of text, and of numbers inside cells.
FONT, SMALL = 8, 7
#: Properties of every text that holds a name: `$` begins no formula, `\\` no command.
PLAIN: dict[str, Any] = {"parse_math": False, "usetex": False}
#: Longest name in characters; what is longer loses its middle.
LONGEST_NAME = 60
#: Width of a character at `FONT`, and height of a line, in inches.
CHARACTER, LINE = 0.068, 0.17

#: Ink, and grey that is still read on white (contrast 4.6 to 1).
INK, GREY, LIGHT = "#1a1a1a", "#737373", "#d9d9d9"
#: Colours that people with any colour vision tell apart (Okabe and Ito 2008), the dark ones first;
#: each stands with a marker and dashes of its own, so that lines differ in grey too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 2, 2, 2)))

#: From orange through white to blue, in equal steps of CIELAB on each side, with equal lightness at
#: equal distance from the middle. Orange and blue are told apart with any colour vision.
DIVERGING: Colormap = LinearSegmentedColormap.from_list(
    "archprior_diverging",
    ["#a33d00", "#bb6538", "#d18b66", "#e5b096", "#f7d7c8", "#f7f7f7",
     "#cfdff2", "#a5bfdf", "#7a9fcb", "#4c80b7", "#0062a3"],
)  # fmt: skip
#: Similarities, from none to most: a stronger colour is more similar, as on the report's page.
SIMILARITY: Colormap = LinearSegmentedColormap.from_list(
    "archprior_similarity", ["#fcfcfa", "#b5dad2", "#63b5a6", "#2f8274", "#0c4d44"]
)
#: Perceptually uniform, and made for all kinds of colour vision (Nunez et al. 2018).
SEQUENTIAL = "cividis"

#: Signs of an interval that is above zero, or below.
ABOVE, BELOW = "▲", "▼"


def axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The axes given, or new ones on a figure of `width` x `height` inches."""
    if ax is None:
        figure = Figure(figsize=(width, height), layout="constrained")
        ax = figure.add_subplot()
    ax.tick_params(labelsize=FONT, colors=INK)
    return ax


def title(ax: Axes, *lines: str, above: float = 6) -> None:
    """Title of the axes, at the left, in plain text; `above` them by so many points."""
    shown = [_shortened(line, 2 * LONGEST_NAME) for line in lines if line]
    ax.set_title("\n".join(shown), loc="left", fontsize=FONT, pad=above, **PLAIN)


def axis_names(ax: Axes, x: str = "", y: str = "") -> None:
    """Names of the two axes, in plain text."""
    ax.set_xlabel(_shortened(x, 2 * LONGEST_NAME), fontsize=FONT, **PLAIN)
    ax.set_ylabel(_shortened(y, 2 * LONGEST_NAME), fontsize=FONT, **PLAIN)


def bare(ax: Axes, *kept: str) -> None:
    """Remove the frame, apart from the spines `kept`."""
    for side, spine in ax.spines.items():
        spine.set_visible(side in kept)
        spine.set_color(GREY)


def ruled(ax: Axes, axis: Literal["both", "x", "y"] = "both") -> Axes:
    """The axes, with faint lines behind the data and no frame but the two axes."""
    ax.grid(axis=axis, color=LIGHT, linewidth=0.5)
    ax.set_axisbelow(True)
    bare(ax, "bottom", "left")
    return ax


def message(ax: Axes, text: str) -> Axes:
    """Axes that hold nothing but a line of text."""
    ax.set_axis_off()
    ax.text(
        0.5, 0.5, plain(text), ha="center", va="center", fontsize=FONT, color=GREY,
        transform=ax.transAxes, **PLAIN,
    )  # fmt: skip
    return ax


def legend_below(ax: Axes, handles: Sequence[Any], names: Sequence[str]) -> None:
    """A legend below the name of the x axis, in plain text."""
    below = offset_copy(ax.transAxes, ax.get_figure(root=True), x=0, y=-0.42, units="inches")
    found = ax.legend(
        handles, list(names), fontsize=SMALL, frameon=False, loc="upper left", ncols=len(handles),
        bbox_to_anchor=(0, 0), bbox_transform=below, borderpad=0, borderaxespad=0,
        handlelength=1.6, handletextpad=0.5, columnspacing=1.6,
    )  # fmt: skip
    for text in found.get_texts():
        text.set(color=INK, **PLAIN)


def legend(ax: Axes, handles: Sequence[Any], names: Sequence[str]) -> None:
    """A legend at the right of the axes, in plain text."""
    found = ax.legend(
        handles, list(names), fontsize=SMALL, frameon=False, loc="upper left",
        bbox_to_anchor=(1.0, 1.0), handlelength=3.2,
    )  # fmt: skip
    for text in found.get_texts():
        text.set(**PLAIN)


def plain(text: object) -> str:
    """Text that fonts and XML can hold: control characters and lone surrogates become `�`."""
    return "".join("�" if unicodedata.category(c) in ("Cc", "Cs") else c for c in str(text))


def shortened(names: Sequence[object], longest: int = LONGEST_NAME) -> list[str]:
    """Names of at most `longest` characters, with `…` for their middle.

    Where two different names would look alike, all get twice the length, until none do.
    """
    whole = [plain(name) for name in names]
    while True:
        found = [_shortened(name, longest) for name in whole]
        if len(set(found)) == len(set(whole)):
            return found
        longest *= 2


def _shortened(name: str, longest: int) -> str:
    if len(name) <= longest:
        return name
    end = (longest - 1) // 2
    return f"{name[: longest - 1 - end]}…{name[len(name) - end :]}"


def text_width(names: Sequence[str]) -> float:
    """Width of the longest name, in inches; 0 without any."""
    return CHARACTER * max((len(name) for name in names), default=0)


def missing(value: Any) -> bool:
    """Whether a value of a table is null, or a number that is not finite."""
    import pandas as pd

    if isinstance(value, float | np.floating):
        return not np.isfinite(value)
    return bool(pd.isna(value))


def number(value: Any, *, signed: bool = False) -> str:
    """A number as a person reads it: three digits after the point, four in all where it is large.

    One that is not zero does not read as zero. A missing one is `–`.
    """
    if missing(value):
        return "–"
    large = format(float(value), "+.4g" if signed else ".4g")
    text = fixed(float(value), 3, signed=signed) if abs(value) < 10 else large
    return text.replace("-", "−")


def interval(low: Any, high: Any, *, signed: bool = True) -> str:
    """An interval in brackets; empty where there is none."""
    if missing(low) or missing(high):
        return ""
    return f"[{number(low, signed=signed)}, {number(high, signed=signed)}]"


def sign(low: Any, high: Any) -> str:
    """The sign of an interval that is above or below zero; empty for others, and without one."""
    if not missing(low) and low > 0:
        return ABOVE
    return BELOW if not missing(high) and high < 0 else ""


def identifier(ax: Axes, *parts: object) -> str:
    """The id of an element in a file: its axes' number in the figure, and `parts`."""
    return "-".join(["axes", str(ax.figure.axes.index(ax)), *map(str, parts)])
