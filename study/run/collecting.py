"""A bar on a terminal while a study's replicates are collected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def collecting() -> Iterator[Callable[[int, int], None]]:
    """Context of a function that shows how many replicates of how many are collected.

    The bar goes to the standard error, where that is a terminal, and is gone afterwards.
    """
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("collecting"), BarColumn(bar_width=20), MofNCompleteColumn(),
        TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    task = bar.add_task("", total=None)
    with bar:
        yield lambda done, total: bar.update(task, completed=done, total=total)
