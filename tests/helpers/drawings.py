"""Reads what is drawn on the axes of a figure."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from analysis import plots

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes


def texts(ax: Axes) -> list[str]:
    """All texts of the axes that are not empty: in it, of its axis, titles and legend."""
    from matplotlib.text import Text

    found = [artist.get_text() for artist in ax.findobj(Text)]
    return [text for text in found if text]


def by_id(ax: Axes, part: str) -> dict[str, Any]:
    """Artists whose id has `part` after `axes-<number>-`, by the rest of the id, in order."""
    prefix = f"axes-{ax.figure.axes.index(ax)}-{part}-"
    found = ax.findobj(lambda artist: str(artist.get_gid() or "").startswith(prefix))
    return {str(artist.get_gid()).removeprefix(prefix): artist for artist in found}


def tick_names(ax: Axes, which: str) -> list[str]:
    labels = ax.get_xticklabels() if which == "x" else ax.get_yticklabels()
    return [label.get_text() for label in labels]


def ink(path: Path) -> float:
    """Share of a PNG file's pixels that are not white."""
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        pixels = np.asarray(image.convert("RGB"))
    return float((pixels < 250).any(axis=2).mean())


def share_of_ink(ax: Axes, folder: Path) -> float:
    """Share of pixels that are not white in the figure that holds the axes."""
    plots.save(ax, folder / "drawn.png")
    return ink(folder / "drawn.png")
