"""Tables of an HTML page, read by Python's own parser."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class Cell:
    """A cell of a table: its tag, attributes and text."""

    tag: str
    attributes: dict[str, str | None]
    text: str = ""


@dataclass
class Table:
    """A table: its attributes, and its cells by row."""

    attributes: dict[str, str | None]
    rows: list[list[Cell]] = field(default_factory=list)

    def column(self, title: str) -> list[Cell]:
        """The cells under a heading."""
        index = [cell.text for cell in self.rows[0]].index(title)
        return [row[index] for row in self.rows[1:]]


class Page(HTMLParser):
    """A page's tables, its whole text, and every element with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: list[Table] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._cell: Cell | None = None
        self._hidden = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag == "table":
            self.tables.append(Table(attributes))
        elif tag == "tr":
            self.tables[-1].rows.append([])
        elif tag in ("th", "td"):
            self._cell = Cell(tag, attributes)
            self.tables[-1].rows[-1].append(self._cell)
        elif tag in ("script", "style"):
            self._hidden += 1

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self._cell = None
        elif tag in ("script", "style"):
            self._hidden -= 1

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        self.text += data
        if self._cell is not None:
            self._cell.text += data

    def maps(self) -> list[Table]:
        """The heat maps."""
        return [table for table in self.tables if table.attributes.get("class") == "map"]

    def data(self, name: str) -> Table:
        """A table by the name that it is saved as."""
        return next(each for each in self.tables if each.attributes.get("data-file") == name)
