"""Error consistency: does a network err where its guide errs, more than accuracy makes it?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from analysis.cells import records
from analysis.mixture_labels import is_mixture
from analysis.plots import selection
from analysis.plots.interval_rows import IntervalRow, draw_rows
from analysis.plots.style import axis_names, interval, missing, number, plain, title

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: The bar behind an estimate, in words.
_BAR = "up to the largest kappa at these accuracies"
#: Reference rows: value of the column `with` of rows without a condition, and their name.
_REFERENCES = (
    ("guide", "unguided with the guide"),
    ("other_baseline", "unguided with unguided of other seeds"),
    ("other_guide", "guides of two seeds"),
)


def consistency(
    consistency: pd.DataFrame,
    *,
    task: str | None = None,
    target: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw kappa of each condition with its guide, as a row with its 95% bootstrap interval.

    The grey bar behind an estimate ends at the largest kappa that these accuracies allow. At the
    right stand what it exceeds the unguided target by (`excess`) and kappa with the guides of other
    seeds. Below stand the references: the unguided target with the guide, two unguided seeds, two
    guides. Mixtures are left out: of them there is no kappa, because they have several guides.

    Args:
        consistency: the study's table of that name.
        task: label of the task; needed where the table has several.
        target: label of a target; by default all.
        ax: axes to draw on; by default new ones.

    Raises UserError where a task must be chosen.
    """
    selection.need(consistency, "error consistency", "task", "target", "with", "kappa", "n")
    of_task = selection.where(consistency, task=task)
    found = selection.one(of_task, "task", "a figure of error consistency")
    of_task = of_task[~of_task["guide"].map(_is_mixture).astype(bool)]
    treated = of_task["control"].notna() & of_task["guide"].notna()
    conditions = selection.where(of_task[treated], target=target)
    rows = [*_conditions(conditions), *_references(of_task, conditions)]
    ax = draw_rows(rows, ax, empty="no guided conditions", signed=False, bar=_BAR)
    if rows:
        ax.axvline(0, color="#737373", linewidth=0.8, zorder=1)
    title(ax, plain(found or ""), plain(target or ""))
    axis_names(ax, "kappa with the guide, of right and wrong answers")
    return ax


def _is_mixture(guide: Any) -> bool:
    return not missing(guide) and is_mixture(guide)


def _conditions(rows: pd.DataFrame) -> Iterator[IntervalRow]:
    naming = selection.naming(rows) or ["guide", "state"]
    keys = selection.conditions(rows)
    others = {
        key: row["kappa"]
        for key, row in zip(keys, records(rows), strict=True)
        if row["with"] == "other_guide"
    }
    for name, key, row in zip(selection.names(rows, naming), keys, records(rows), strict=True):
        if row["with"] == "guide":
            yield _row(name, row, _note(row, others.get(key)))


def _row(name: str, row: dict[str, Any], note: str) -> IntervalRow:
    # Bars of networks that are alike reach far beyond those of targets with their guides.
    most: Any = row["bound_high"] if row["with"] == "guide" else None
    return IntervalRow(
        name=name,
        estimate=row["kappa"],
        low=row["kappa_low"],
        high=row["kappa_high"],
        bounds=None if missing(most) else (0.0, float(most)),
        note=note,
    )


def _note(row: dict[str, Any], other: float | None = None) -> str:
    parts = [f"n {row['n']}"]
    if missing(row["kappa"]):
        parts.append("no result yet" if row["n"] == 0 else "not defined")
    if not missing(row.get("excess")):
        limits = interval(row["excess_low"], row["excess_high"])
        parts.append(f"excess {number(row['excess'], signed=True)} {limits}".strip())
    if not missing(other):
        parts.append(f"other guides {number(other)}")
    return ", ".join(parts)


def _references(of_task: pd.DataFrame, conditions: pd.DataFrame) -> Iterator[IntervalRow]:
    """Rows of baselines and guides with each other; a heading comes first."""
    alone = of_task[of_task["control"].isna()]
    guides, targets = set(conditions["guide"]), set(conditions["target"])
    found = []
    for other, words in _REFERENCES:
        rows = alone[alone["with"] == other]
        if other == "guide":
            rows = rows[rows["guide"].isin(guides) & rows["target"].isin(targets)]
        else:
            rows = rows[rows["guide"].isna()]
            rows = rows[rows["target"].isin(guides if other == "other_guide" else targets)]
        columns = ("target", "guide") if other == "guide" else ("target",)
        naming = selection.differing(rows, columns)
        for name, row in zip(selection.names(rows, naming), records(rows), strict=True):
            whole = words if name == "-" else f"{words}: {name}"
            found.append(_row(f"   {whole}", row, _note(row)))
    if found:
        yield IntervalRow(name="for reference", heading=True)
        yield from found
