"""The transfer matrix of a study, for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from analysis.statistics import INTERVALS
from study.cli.console import wide_console

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]

#: Wide enough for the longest verdict beside all columns.
_PLAIN_WIDTH, _WIDEST = 220, 1000
_LEGEND = """Means over n seeds; differences are guided minus unguided by seed, positive is better.
Intervals are {intervals}. Verdicts are on the primary metric; the
table `transfer` has the other metrics, and verdict_adjusted, for how many rows were tested."""


def print_matrix(transfer: pd.DataFrame) -> None:
    """Print the transfer matrix on primary metrics: a table for each target, guide, distance."""
    console = wide_console(_PLAIN_WIDTH)
    axes = ["task", "metric", "target", "guide", "distance", "mapping"]
    for labels, rows in transfer[transfer["primary"]].groupby(axes, sort=False):
        task, metric, target, guide, distance, mapping = labels
        what = f"{task}: {target} <- {guide}, {distance}, {mapping}"
        title = f"{what}  (primary metric: test {metric})"
        records = [
            {str(key): value for key, value in record.items()} for record in rows.to_dict("records")
        ]
        console.print(title, markup=False, highlight=False)
        _print_rows(console, records)
        guided = [record for record in records if record["control"] == "none"]
        for note in dict.fromkeys(note for record in guided for note in _notes(record)):
            console.print(f" {note}", markup=False, highlight=False)
    over = transfer["interval"].dropna().unique().tolist() or [INTERVALS["fixed"]]
    intervals = "; ".join(interval.removeprefix("95% ") for interval in over)
    console.print(_LEGEND.format(intervals=intervals), markup=False, highlight=False)


def _print_rows(console: Console, rows: Sequence[Row]) -> None:
    """Print rows whole: where it is too narrow without the controls' columns, which have rows too.

    Lines that are still too long are left to the terminal, because a cropped verdict is another.
    """
    levels = ["shuffled", "input", "labels"]
    if not any(_present(row["labels"]) for row in rows):
        levels.remove("labels")
    table, available = _matrix(rows, levels), console.width
    if _width(console, table) > available:
        table = _matrix(rows, ())
    console.width = max(available, _width(console, table))
    console.print(table, soft_wrap=True)
    console.width = available


def _width(console: Console, table: Table) -> int:
    """Width of a table of which nothing is cropped."""
    return console.measure(table, options=console.options.update(width=_WIDEST)).maximum


def _matrix(rows: Sequence[Row], levels: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("guide is", "schedule"):
        table.add_column(column, no_wrap=True)
    for column in ("n", "unguided", "guided", *levels, "difference", "95% interval"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row, levels))
    return table


def _cells(row: Row, levels: Sequence[str]) -> list[str]:
    shown = [_number(row[name], ".3f") for name in ("baseline", "guided", *levels)]
    interval = "-"
    if _present(row["difference_low"]):
        interval = f"{row['difference_low']:+.3f} .. {row['difference_high']:+.3f}"
    numbers = [str(row["n"]), *shown, _number(row["difference"], "+.3f"), interval]
    return [_guide(row), row["schedule"], *numbers, row["verdict"]]


def _guide(row: Row) -> str:
    named = [row["state"], None if row["control"] == "none" else row["control"]]
    return ", ".join(str(part) for part in named if _present(part))


def _notes(row: Row) -> Iterator[str]:
    """Lines on what stands behind a guided row's verdict: failed seeds, bimodal arms, controls."""
    which = f"{_guide(row)}, {row['schedule']}:"
    num_failed = row["n_failed_guided"] + row["n_failed_baseline"]
    if num_failed:
        known = _present(row["difference_worst"])
        worst = _interval(row, "difference_worst") if known else "not known, as chance is not"
        yield (
            f"{which} {row['n_failed_guided']} guided and {row['n_failed_baseline']} unguided "
            f"seeds failed; the difference at worst is {worst}"
        )
    if _present(row["seeds_disagree"]) and row["seeds_disagree"]:
        yield (
            f"{which} seeds disagree: {row['guided_success']:.0%} of guided and "
            f"{row['baseline_success']:.0%} of unguided seeds are better than "
            f"{row['success_threshold']:.3f}"
        )
    yield from _other_baselines(row, which)
    for column, words in (
        ("missing_controls", "specificity needs"),
        ("uncompared_controls", "not compared"),
    ):
        if _present(row[column]):
            yield f"{row['state']}: {words} {row[column]}"


def _other_baselines(row: Row, which: str) -> Iterator[str]:
    """Lines on baselines at equal compute, and on both arms at best validation."""
    for name, words in (
        ("matched", "at equal compute"),
        ("matched_full", "with the guide's training as well"),
    ):
        if _present(row[f"baseline_{name}"]):
            difference = _interval(row, f"difference_{name}")
            yield f"{which} {words} unguided {row[f'baseline_{name}']:.3f}, difference {difference}"
    if _present(row["difference_best"]):
        yield (
            f"{which} at best validation unguided {row['baseline_best']:.3f}, guided "
            f"{row['guided_best']:.3f}, difference {_interval(row, 'difference_best')}"
        )


def _interval(row: Row, column: str) -> str:
    low, high = row[f"{column}_low"], row[f"{column}_high"]
    limits = f" ({low:+.3f} .. {high:+.3f})" if _present(low) else ""
    return f"{row[column]:+.3f}{limits}"


def _number(value: Any, form: str) -> str:
    return format(value, form) if _present(value) else "-"


def _present(value: Any) -> bool:
    import pandas as pd

    return bool(pd.notna(value))
