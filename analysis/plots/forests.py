"""Forest plot: each condition against its baseline, or against its controls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from analysis import cells
from analysis.cells import Cell, Metric
from analysis.contract import is_rival
from analysis.errors import unknown
from analysis.plots import selection
from analysis.plots.interval_rows import IntervalRow, draw_rows
from analysis.plots.style import axis_names, missing, plain, title
from analysis.plots.units import unit_of_column, with_unit
from analysis.transfer import LEVELS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: Columns of `transfer` with a difference to another baseline, and its name.
_OTHER_BASELINES = {
    "difference_matched": ("baseline at equal compute", "matched_n"),
    "difference_matched_full": ("baseline with the guide's compute too", "matched_full_n"),
    "difference_best": ("baseline, both at best validation", "n"),
}


#: Titles of the two kinds of plots.
_AGAINST = {
    "baseline": "every condition against the unguided target",
    "controls": "guided conditions against their controls and other baselines",
}


def forest(
    transfer: pd.DataFrame,
    pairs: pd.DataFrame | None = None,
    *,
    against: str = "baseline",
    metric: str | None = None,
    task: str | None = None,
    target: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the effect of each condition as a row: estimate, 95% interval, a dot for each seed.

    Args:
        transfer: the table `transfer`.
        pairs: the table `pairs`, for the dots of seeds, and for every control; without it there are
            no dots, and `controls` shows of each guided condition the control that decides.
        against: `baseline`: guided conditions and controls minus the unguided target;
            `controls`: guided conditions minus each of their controls, and minus the other
            baselines that the study has.
        metric: a test metric; by default the task's primary one.
        task: label of the task; needed where the table has several.
        target: label of a target; by default all.
        ax: axes to draw on; by default new ones.

    A filled diamond has an interval that excludes zero, an open one an interval that holds it, a
    cross none (fewer than three seeds, or seeds that do not vary). Conditions without a result say
    why. Differences of accuracies are in points. Raises UserError where a task must be chosen.
    """
    kinds: dict[str, Callable[..., Iterator[IntervalRow]]] = {
        "baseline": _against_baseline,
        "controls": _against_controls,
    }
    if against not in kinds:
        raise unknown("against:", against, kinds)
    selection.need(transfer, "a forest plot", "target", "task", "metric", "difference")
    chosen = selection.where(transfer, task=task, target=target)
    rows = selection.of_metric(chosen, metric)
    found = selection.one(rows, "task", "a forest plot")
    measured = selection.one(rows, "metric", "a forest plot")
    seeds = None if pairs is None else selection.where(pairs, task=found, metric=measured)
    unit = unit_of_column("difference", measured or "")
    drawn = [row.in_unit(unit) for row in kinds[against](rows, seeds)]
    ax = draw_rows(drawn, ax, empty="no guided conditions")
    left = "guided" if against == "controls" and not _with_rivals(rows) else "condition"
    words = plain(": ".join(filter(None, (found, _AGAINST[against]))))
    title(ax, words, plain(_about(rows, target)))
    other = "control" if against == "controls" else "baseline"
    words = with_unit(plain(measured or ""), unit)
    axis_names(ax, f"{left} minus {other}, {words} (positive is better)")
    return ax


def _about(rows: pd.DataFrame, target: str | None) -> str:
    """The target, and the guide where there is but one: their names are in no row then."""
    targets, guides = rows["target"].dropna().unique(), rows["guide"].dropna().unique()
    words = target or (str(targets[0]) if len(targets) == 1 else "")
    if len(guides) != 1 or _with_rivals(rows):
        return words
    return f"{words} guided by {guides[0]}".strip()


def _with_rivals(rows: pd.DataFrame) -> bool:
    return bool(rows["guide"].isna().any())


def _against_baseline(rows: pd.DataFrame, pairs: pd.DataFrame | None) -> Iterator[IntervalRow]:
    dots = _dots(pairs)
    naming = selection.naming(rows) or selection.treatments(rows)
    for name, key, row in zip(
        selection.names(rows, naming), selection.conditions(rows), cells.records(rows), strict=True
    ):
        yield _row(name, row, "difference", row["n"], dots.get(key, ()))


def _dots(pairs: pd.DataFrame | None) -> dict[tuple[Any, ...], list[float]]:
    """Differences of seeds by condition."""
    found: dict[tuple[Any, ...], list[float]] = {}
    if pairs is not None:
        known = pairs[pairs["difference"].notna()]
        for key, value in zip(selection.conditions(known), known["difference"], strict=True):
            found.setdefault(key, []).append(float(value))
    return found


def _row(
    name: str, row: dict[str, Any], column: str, n: Any, dots: Any = (), *, failures: bool = True
) -> IntervalRow:
    """A row of columns of `transfer`, with the number of seeds and of those that failed."""
    counts = [row.get("n_failed_guided"), row.get("n_failed_baseline")] if failures else []
    failed = sum(int(count) for count in counts if count is not None and not missing(count))
    notes = [f"n {0 if missing(n) else n}"]
    notes += [f"{failed} failed"] if failed else []
    notes += ["no result yet"] if missing(row[column]) and not failed else []
    return IntervalRow(
        name=name,
        estimate=row[column],
        low=row.get(f"{column}_low"),
        high=row.get(f"{column}_high"),
        dots=dots,
        note=", ".join(notes),
    )


def _against_controls(rows: pd.DataFrame, pairs: pd.DataFrame | None) -> Iterator[IntervalRow]:
    guided = rows[rows["control"] == "none"]
    naming = [c for c in selection.naming(guided) if c != "control"]
    naming = naming or [*selection.treatments(guided), "state"]
    known = None if pairs is None or guided.empty else _Contrasts(pairs, rows)
    for name, key, row in zip(
        selection.names(guided, naming), selection.conditions(guided), cells.records(guided),
        strict=True,
    ):  # fmt: skip
        below = list(_decisive(row) if known is None else known.rows(key))
        for column, (baseline, count) in _OTHER_BASELINES.items():
            if not missing(row.get(column)):
                below.append(_row(f"minus {baseline}", row, column, row[count], failures=False))
        if not below:
            of_rival = is_rival(row) and missing(row.get("missing_controls"))
            why = "a rival without a guide or prior has none" if of_rival else "none was planned"
            below = [IntervalRow(name="no control", note=why)]
        yield IntervalRow(name=name, heading=True)
        yield from (replace(each, name=f"   {each.name}") for each in below)


def _decisive(row: dict[str, Any]) -> Iterator[IntervalRow]:
    """The control with the lowest lower limit, as `transfer` has it."""
    if not missing(row.get("specific_control")):
        name = f"minus {row['specific_control']}"
        yield _row(name, row, "specific", row["specific_n"], failures=False)


def _place(control: str) -> tuple[int, str]:
    """The place of a control among others: first those that `transfer` has columns of."""
    known = [*LEVELS.values()]
    return (known.index(control) if control in known else len(known)), control


class _Contrasts:
    """Guided conditions minus each of their controls, paired by seed."""

    def __init__(self, pairs: pd.DataFrame, rows: pd.DataFrame) -> None:
        """`rows` says in which direction the metric is better."""
        self._cells = cells.cells(pairs)
        self._groups = cells.grouped(self._cells)
        values = dict(zip(pairs["replicate_id"], pairs["guided"], strict=True))
        values |= dict(zip(pairs["baseline_id"], pairs["baseline"], strict=True))
        self._metric = Metric(
            name="",
            higher_is_better=bool(rows["higher_is_better"].iloc[0]),
            values={name: float(value) for name, value in values.items() if not missing(value)},
        )

    def rows(self, key: tuple[Any, ...]) -> Iterator[IntervalRow]:
        """A row for each control of a guided condition, in the same order for each condition."""
        cell = next((each for each in self._cells if tuple(each.condition) == key), None)
        if cell is not None:
            controls = cells.controls_of(cell, self._groups[cell.condition.group])
            for control in sorted(controls, key=lambda each: _place(str(each.condition.control))):
                yield self._row(cell, control)

    def _row(self, cell: Cell, control: Cell) -> IntervalRow:
        metric = self._metric
        seeds = metric.shared(cell, control)
        first, second = metric.of(cell, seeds), metric.of(control, seeds)
        result = metric.better(first, second)
        name = f"minus {control.condition.control}"
        notes = [f"n {result.n}"]
        if not cell.comparable(control):
            notes.append(f"not compared: {control.num_pairs} pairs against {cell.num_pairs}")
        return IntervalRow(
            name=name,
            estimate=result.mean,
            low=result.low,
            high=result.high,
            dots=(first - second if metric.higher_is_better else second - first).tolist(),
            note=", ".join(notes),
        )
