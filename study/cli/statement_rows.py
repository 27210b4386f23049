"""Rules, rows and published numbers beside their values: no verdict and no rule is ever cut.

Where they fit the terminal, or output is none, they are a table; else each is some lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from analysis.quantities import fixed
from study.cli.console import print_whole, whole_width

_INDENT = 3
NUMBERS = ("measured", "explored", "fresh seeds", "95% interval", "n", "p", "published")


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One row: its `cells` in a table; on a narrow terminal its `head`, and lines below it."""

    cells: Sequence[str]
    head: str
    below: Sequence[str]


def print_statements(
    console: Console, columns: Sequence[str], statements: Sequence[Statement]
) -> None:
    """Print statements as a table of some columns, or each as lines where that is too wide."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in NUMBERS else "left", no_wrap=True)
    for each in statements:
        table.add_row(*map(Text, each.cells))
    if not console.is_terminal or whole_width(console, table) <= console.width:
        print_whole(console, table)
        return
    for each in statements:
        console.print(Text(each.head), soft_wrap=False)
        for line in each.below:
            console.print(Padding(Text(line), (0, 0, 0, _INDENT), expand=False), soft_wrap=False)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A value over n seeds with the limits of its interval, each None where there is none."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    def cells(self, none: str = "-") -> tuple[str, str, str]:
        """Value, interval and n; `none` stands for an absent value."""
        if self.value is None:
            return none, "-", str(self.n)
        return number(self.value), self._interval() or "-", str(self.n)

    def text(self, none: str = "-") -> str:
        """The same in a line: `0.041 (0.020 .. 0.062), n 5`."""
        value, _, n = self.cells(none)
        interval = self._interval() if self.value is not None else ""
        return f"{value}{f' ({interval})' if interval else ''}, n {n}"

    def _interval(self) -> str:
        if self.low is None:
            return ""
        return f"{number(self.low)} .. {number(self.high)}"


def number(value: float | None) -> str:
    """A value of any metric, to three decimals or four digits."""
    if value is None:
        return "-"
    return fixed(value, 3) if abs(value) < 10 else f"{value:.4g}"
