"""Figures as files, and as text for a web page: the same figure gives the same bytes."""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

from analysis.errors import UserError
from analysis.plots.style import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Kinds of files, by suffix.
SUFFIXES = (".svg", ".pdf", ".png")
#: Dots per inch of PNG.
DPI = 200

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
#: Metadata that would differ between two files of one figure, or name a version of matplotlib.
_UNDATED: dict[str, dict[str, Any]] = {
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".png": {"Software": None},
}
#: Text stays text (TrueType in PDF), and ids are the same each time.
_SETTINGS = {"svg.hashsalt": "archprior", "svg.fonttype": "none", "pdf.fonttype": 42}
#: Matplotlib reads these settings from one place of the process.
_lock = threading.Lock()


@contextmanager
def _settings() -> Iterator[None]:
    parameters: dict[str, Any] = mpl.rcParams  # type: ignore[assignment]
    with _lock:
        before = {key: parameters[key] for key in _SETTINGS}
        parameters.update(_SETTINGS)
        try:
            yield
        finally:
            parameters.update(before)


def check_suffix(path: str | os.PathLike[str]) -> str:
    """The suffix of a figure's file, in lower case; raises UserError for one that is not known."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"{os.fspath(path)}: a figure is written to a file that ends in {', '.join(SUFFIXES)}"
        )
    return suffix


def save(drawn: Axes | Figure, to: str | os.PathLike[str], *, name: str = "") -> None:
    """Write a figure, or that of some axes, to a file: SVG, PDF or PNG (200 dpi) by its suffix.

    The bytes depend on the figure and the versions of matplotlib and its fonts alone: there is no
    date in them. `name` is the title in the file's metadata.

    Raises UserError for another suffix, and OSError where the file cannot be written.
    """
    suffix = check_suffix(to)
    Path(to).write_bytes(encoded(drawn, suffix, name=name))


def encoded(drawn: Axes | Figure, suffix: str, *, name: str = "") -> bytes:
    """The bytes of the file that `save` writes; `suffix` is `.svg`, `.pdf` or `.png`."""
    buffer = io.BytesIO()
    metadata = _UNDATED[suffix] | ({"Title": plain(name)} if name else {})
    with _settings():
        _figure(drawn).savefig(
            buffer, format=suffix.removeprefix("."), dpi=DPI, metadata=metadata, facecolor="white"
        )
    return buffer.getvalue()


class Picture(str):
    """The text of an `<svg>` element. Notebooks show it as a picture."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        found = re.search(r'viewBox="0 0 (\S+) (\S+)"', self)
        size = f"{float(found[1]):.0f} x {float(found[2]):.0f} points" if found else "empty"
        return f"<Picture, {size}>"


def svg(drawn: Axes | Figure, name: str, *, title: str = "") -> Picture:
    """An `<svg>` element for a page that may hold several.

    Text is text. All ids begin with `name` and a hyphen. There is no style that would hold beyond
    the element, no metadata, and no background. A group with an id `NAME-axes-...` (a cell, a row,
    a line) has a `<title>` that says in words what it shows, so browsers show it under the pointer
    and screen readers read it.

    Args:
        drawn: a figure, or axes, whose figure is taken.
        name: letters, digits, `-` and `_`; differs for each figure of a page.
        title: the figure's name for screen readers; it is an image without one, too.
    """
    if not re.fullmatch(r"[A-Za-z][\w-]*", name, re.ASCII):
        raise ValueError(f"name {name!r} is no id: a letter, then letters, digits, - and _")
    figure = _figure(drawn)
    buffer = io.BytesIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with _settings():
        figure.savefig(buffer, format="svg", metadata=metadata, transparent=True)
    root = ElementTree.fromstring(buffer.getvalue())
    _without_style(root)
    _titled(root, _descriptions(figure))
    _renamed(root, name)
    root.set("role", "img")
    root.set("id", name)
    if title:
        root.set("aria-label", plain(title))
    return Picture(_text_of(root))


def _figure(drawn: Axes | Figure) -> Figure:
    figure = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
    if figure is None:
        raise ValueError("these axes are on no figure")
    return figure


def _descriptions(figure: Figure) -> dict[str, str]:
    """Labels of the artists that have an id, which say in words what is shown, by id."""
    found = figure.findobj(lambda artist: bool(artist.get_gid()))
    return {str(artist.get_gid()): str(artist.get_label()) for artist in found}


def _without_style(root: ElementTree.Element) -> None:
    """Move the style of all elements, which would hold for the whole page, to the root."""
    for parent in [*root.iter()]:
        for child in [*parent]:
            if child.tag in (f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"):
                parent.remove(child)
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")


def _titled(root: ElementTree.Element, descriptions: Mapping[str, str]) -> None:
    for group in root.iter(f"{{{_SVG}}}g"):
        words = descriptions.get(group.get("id", ""))
        if words:
            title = ElementTree.Element(f"{{{_SVG}}}title")
            title.text = plain(words)
            group.insert(0, title)


def _renamed(root: ElementTree.Element, name: str) -> None:
    """Begin all ids with `name-`, and what refers to them."""
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == f"{{{_XLINK}}}href" and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{name}-"))


def _text_of(root: ElementTree.Element) -> str:
    """The element as text with SVG's names as the default."""
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
        # Browsers of today read href without a name space.
        linked = element.attrib.pop(f"{{{_XLINK}}}href", None)
        if linked is not None:
            element.set("href", linked)
    root.set("xmlns", _SVG)
    return ElementTree.tostring(root, encoding="unicode")
