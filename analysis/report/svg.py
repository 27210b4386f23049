"""Figures of `analysis.plots` as small elements of the page, in its colours, light and dark."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from markupsafe import Markup
from matplotlib.figure import Figure

from analysis import plots
from analysis.plots.style import COLOURS, GREY, INK, LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours that figures are drawn in, and the page's in their place. What is not here stays: colours
#: of a map mean numbers, and are the same in light and dark.
_COLOURS = {
    INK: "var(--ink)",
    GREY: "var(--soft)",
    LIGHT: "var(--grid)",
    "#000000": "var(--ink)",
    "#ffffff": "var(--paper)",
    **{colour: f"var(--c{number})" for number, colour in enumerate(COLOURS, 1)},
}
_COLOUR = re.compile("|".join(_COLOURS), re.IGNORECASE)
#: Inside tags alone: the text between them is what somebody reads.
_TAG = re.compile(r"<[^<>]+>")
_DIGITS = re.compile(r"(\d\.\d\d)\d+")
_FAMILY = re.compile(r"(font: [^;\"]*?px) [^;\"]*")
_SIZE = re.compile(r'width="([\d.]+)pt" height="([\d.]+)pt"')
#: Pixels of the page for a point of a figure: its text of 8 points is then read as 13 pixels.
_SCALE = 1.62


def element(drawn: Axes | Figure, name: str, *, title: str, themed: bool = True) -> Markup:
    """A figure as an `<svg>` element; `name` begins its ids, `title` is read in its place.

    Colours become those of the page unless not `themed`, the font is the page's, and coordinates
    keep two decimals, which halves the size.
    """
    figure = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
    assert figure is not None
    engine = figure.get_layout_engine()
    if engine is not None:
        # Saving would lay the figure out twice.
        engine.execute(figure)
        figure.set_layout_engine("none")
    text = str(plots.svg(figure, name, title=title))
    text = _TAG.sub(lambda tag: _tag(tag[0], themed=themed), text)
    return Markup(text)


def _tag(tag: str, *, themed: bool) -> str:
    tag = _DIGITS.sub(r"\1", tag)
    tag = _FAMILY.sub(r"\1 var(--sans)", tag)
    tag = _SIZE.sub(_size, tag, count=1)
    if tag.startswith("<svg"):
        width = re.search(r'width="(\d+)"', tag)
        assert width is not None
        tag = tag.replace('style="', f'style="--own: {width[1]}px; ', 1)
    return _COLOUR.sub(lambda found: _COLOURS[found[0].lower()], tag) if themed else tag


def _size(found: re.Match[str]) -> str:
    width, height = (float(each) * _SCALE for each in found.groups())
    return f'width="{width:.0f}" height="{height:.0f}"'
