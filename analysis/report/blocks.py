"""Parts of the page as data: sections, paragraphs, grids, tables, figures. Templates draw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from markupsafe import Markup


@dataclass(frozen=True, kw_only=True)
class Note:
    """A paragraph; `tone` is `plain`, `quiet` or `bad`."""

    kind: ClassVar[str] = "note"
    text: str
    tone: str = "plain"


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A heading inside a section, of a name that a user gave."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A term with its text, of a list of facts; `code` for text as a machine has it."""

    term: str
    text: str
    code: bool = False


@dataclass(frozen=True, kw_only=True)
class FactList:
    """Terms with their texts."""

    kind: ClassVar[str] = "facts"
    facts: Sequence[Fact]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A verdict in plain words, with the facts that it rests on; `mark` and `tone` as in a Cell."""

    sentence: str
    verdict: str
    facts: Sequence[Fact]
    mark: str = ""
    tone: str = ""
    context: str = ""


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Verdicts in plain words."""

    kind: ClassVar[str] = "claims"
    claims: Sequence[Claim]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a grid.

    `text` is what it shows, `small` a second line, `mark` a sign with the `words` that are read for
    it, `tone` its colour (`p1` to `p5` above zero, `n1` to `n5` below, `bad`, `wait`, `none`),
    `title` the sentence with interval and n, and `value` the number that it is sorted by.
    """

    text: str
    tone: str = ""
    mark: str = ""
    words: str = ""
    small: str = ""
    title: str = ""
    value: float | None = None


@dataclass(frozen=True, kw_only=True)
class GridRow:
    """A row of a grid: its name, what else tells it apart, and its cells."""

    name: str
    of: str
    cells: Sequence[Cell]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A heat map as a table: `corner` names its rows, `columns` the others."""

    kind: ClassVar[str] = "grid"
    caption: str
    note: str = ""
    corner: str
    columns: Sequence[str]
    rows: Sequence[GridRow]
    #: Columns are names that a user gave.
    named: bool = True
    file: str = ""
    #: Small and many: without tools to sort, filter and save.
    quiet: bool = False

    @property
    def size(self) -> int:
        """Number of its cells."""
        return sum(len(row.cells) for row in self.rows)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table; numbers stand at the right, a name is of a user.

    `wide` texts get room. One that is `hidden` stands in the saved file alone.
    """

    title: str
    number: bool = False
    named: bool = False
    wide: bool = False
    hidden: bool = False


@dataclass(frozen=True, kw_only=True)
class Datum:
    """A cell of a table: what it shows, and what it is sorted by where that is another."""

    text: str
    value: Any = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table to sort, filter and save; `file` is the Parquet file that has all of it."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Datum]]
    file: str = ""
    #: Rows that the page leaves out.
    left_out: int = 0
    name: str = "table"
    #: Titles and values of columns that are the same in every row, and hidden.
    common: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing as SVG, with the sentence below it."""

    kind: ClassVar[str] = "figure"
    svg: Markup
    caption: str


@dataclass(frozen=True, kw_only=True)
class Text:
    """Text as a file has it, folded under its title."""

    kind: ClassVar[str] = "text"
    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Blocks side by side where there is room."""

    kind: ClassVar[str] = "row"
    blocks: Sequence[Any]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the page; `lead` says how to read it."""

    anchor: str
    title: str
    lead: str = ""
    blocks: Sequence[Any] = field(default_factory=tuple)


@dataclass(frozen=True, kw_only=True)
class FileLink:
    """A file beside the page: its name, what it holds, and its size."""

    name: str
    text: str
    size: str


@dataclass(frozen=True, kw_only=True)
class FileList:
    """Links to files beside the page."""

    kind: ClassVar[str] = "files"
    links: Sequence[FileLink]
