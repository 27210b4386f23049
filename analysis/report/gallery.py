"""Figures of a section, as many as a page has room for, and a line that says how many are left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analysis.report import svg
from analysis.report.blocks import Figure, Note
from analysis.report.numbers import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass
class Gallery:
    """Figures of a section; `kind` is what `archprior plot` calls them.

    A figure that would be more than `most_figures` of the gallery, or would bring their text over
    `most_bytes`, is left out.
    """

    kind: str
    most_figures: int = 8
    most_bytes: int = 350_000
    blocks: list[Any] = field(default_factory=list)
    left_out: int = 0
    _bytes: int = 0
    _figures: int = 0
    _full: bool = False

    def add(self, draw: Callable[[], Axes], caption: str, *, themed: bool = True) -> None:
        """Draw a figure where there is room."""
        if self._full or self._figures >= self.most_figures:
            self.left_out += 1
            return
        name = f"{self.kind}-figure-{self._figures + 1}"
        drawn = svg.element(draw(), name, title=caption, themed=themed)
        if self._figures and self._bytes + len(drawn) > self.most_bytes:
            # The next ones are as large: they are not drawn to be thrown away.
            self._full = True
            self.left_out += 1
            return
        self._bytes += len(drawn)
        self._figures += 1
        self.blocks.append(Figure(svg=drawn, caption=caption))

    def say(self, text: str) -> None:
        """Add a quiet line."""
        self.blocks.append(Note(text=text, tone="quiet"))

    def close(self, study: str) -> list[Any]:
        """The figures, and a line on those that were left out."""
        if self.left_out:
            self.say(
                f"{count(self.left_out)} more figures are not shown, so that the page stays small: "
                f"archprior plot {study} {self.kind} --to FILE.svg draws all."
            )
        return self.blocks
