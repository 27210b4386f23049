"""Learning curves with bands over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D

from analysis.contract import CONDITION_COLUMNS, VALIDATION, Role
from analysis.learning_curves import learning_curves
from analysis.plots import selection
from analysis.plots.style import (
    COLOURS,
    DASHES,
    GREY,
    INK,
    MARKERS,
    axes,
    axis_names,
    identifier,
    legend,
    message,
    plain,
    ruled,
    shortened,
    text_width,
    title,
)
from analysis.plots.units import unit_of_level, with_unit
from analysis.quantities import Unit
from analysis.schema import metrics_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: Most curves with a name in the legend.
MOST_NAMED = 20
_ROLES = {True: [*Role], False: [role for role in Role if role != Role.control]}


def curves(
    history: pd.DataFrame,
    replicates: pd.DataFrame,
    *,
    metric: str | None = None,
    task: str | None = None,
    target: str | None = None,
    controls: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw a metric over training steps: means over seeds, with 95% intervals as bands.

    The unguided target is black, guides alone are grey, guided conditions have a colour, marker and
    dashes each. There is no band for fewer than three seeds. Names say over how many seeds a curve
    is; after a seed that ended early, the mean is that of the others. Accuracies are in percent.

    Args:
        history: the table `history`.
        replicates: the table `replicates`, for the conditions.
        metric: full name in `history`, such as `train/loss`; by default the validation metric of
            the first test metric, which is the task's primary one.
        task: label of the task; needed where the table has several.
        target: label of a target; by default all.
        controls: whether controls are drawn, too.
        ax: axes to draw on; by default new ones.

    Raises UserError for an unknown metric, task or target, and where a task must be chosen.
    """
    selection.need(history, "learning curves", "replicate_id", "step", "metric", "value")
    selection.need(replicates, "learning curves", "replicate_id", "task", "target", "role")
    rows = selection.where(replicates, task=task)
    found = selection.one(rows, "task", "a figure of learning curves")
    rows = _of_target(rows, target)
    rows = rows[rows["role"].isin(_ROLES[controls])]
    measured = history[history["replicate_id"].isin(rows["replicate_id"])]
    name = metric or _default(measured, replicates)
    if len(measured):
        selection.where(measured, metric=name)
    unit = unit_of_level(name)
    drawn = _curves(learning_curves(measured, rows, name), unit)
    names = shortened([curve.name for curve in drawn])
    ax = axes(ax, width=4.6 + text_width(names), height=3.2)
    if not drawn:
        return message(ax, "no reports yet")
    for curve, shown in zip(drawn, names, strict=True):
        _draw(ax, curve, shown)
    _name_curves(ax, drawn, names)
    title(ax, plain(found or ""), plain(target or ""))
    axis_names(ax, "training step", with_unit(plain(name), unit))
    return ruled(ax)


@dataclass(frozen=True, kw_only=True)
class _Curve:
    """One condition's means by step, and its looks."""

    name: str
    number: int
    rows: pd.DataFrame
    colour: str
    dashes: Any
    marker: str


def _of_target(replicates: pd.DataFrame, target: str | None) -> pd.DataFrame:
    """Replicates of one target, and the guides that its guided replicates have."""
    if target is None:
        return replicates
    chosen = selection.where(replicates[replicates["role"] != Role.guide], target=target)
    return selection.with_guides_alone(replicates, chosen)


def _default(measured: pd.DataFrame, replicates: pd.DataFrame) -> str:
    """The first test metric's validation metric that there are reports of."""
    there = set(measured["metric"].unique())
    wanted = [VALIDATION + name for name in metrics_of(replicates.columns)]
    return next((name for name in wanted if name in there), min(there, default="train/loss"))


def _curves(table: pd.DataFrame, unit: Unit) -> list[_Curve]:
    """Curves in the table's order; unguided and guides first, so that they lie below."""
    for column in ("mean", "low", "high"):
        table[column] *= unit.scale
    keys = [*CONDITION_COLUMNS, "role"]
    groups = [rows for _, rows in table.groupby(keys, dropna=False, sort=False)]
    first = {Role.guide: 0, Role.baseline: 1}
    groups.sort(key=lambda rows: first.get(Role(rows["role"].iloc[0]), 2))
    heads = table.drop_duplicates(keys)
    guided = heads[~heads["role"].isin([*first])]
    naming = selection.naming(guided) or ["guide", "state"]
    several = heads.loc[heads["role"] == Role.baseline, "target"].nunique() > 1
    found = []
    for number, rows in enumerate(groups):
        name = _name(rows.iloc[:1], naming, several=several)
        role, place = Role(rows["role"].iloc[0]), number
        found.append(
            _Curve(
                name=f"{name}, n {_range(rows['n'])}",
                number=number,
                rows=rows,
                colour={Role.baseline: INK, Role.guide: GREY}.get(
                    role, COLOURS[place % len(COLOURS)]
                ),
                dashes=DASHES[0 if role == Role.baseline else 1 + place % (len(DASHES) - 1)],
                marker=MARKERS[place % len(MARKERS)],
            )
        )
    return found


def _name(row: pd.DataFrame, naming: list[str], *, several: bool) -> str:
    role, target = row["role"].iloc[0], row["target"].iloc[0]
    if role == Role.baseline:
        return f"unguided {target}" if several else "unguided"
    if role == Role.guide:
        return f"guide alone: {target}"
    return selection.names(row, naming)[0]


def _name_curves(ax: Axes, drawn: Sequence[_Curve], names: Sequence[str]) -> None:
    """A legend of the first curves, and how many more there are."""
    handles = [_handle(curve) for curve in drawn[:MOST_NAMED]]
    words = [*names[:MOST_NAMED]]
    if len(drawn) > MOST_NAMED:
        handles.append(Line2D([], [], linestyle=""))
        words.append(f"and {len(drawn) - MOST_NAMED} more")
    legend(ax, handles, words)


def _range(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def _draw(ax: Axes, curve: _Curve, name: str) -> None:
    rows, every = curve.rows, max(1, len(curve.rows) // 12)
    steps = rows["step"].to_numpy(dtype=float)
    low, high = (rows[column].to_numpy(dtype=float) for column in ("low", "high"))
    if np.isfinite(low).any():
        ax.fill_between(
            steps, low, high, color=curve.colour, alpha=0.15, linewidth=0,
            label=f"{name}: 95% interval", gid=identifier(ax, "band", curve.number),
        )  # fmt: skip
    ax.plot(
        steps, rows["mean"].to_numpy(dtype=float), color=curve.colour, linestyle=curve.dashes,
        marker=curve.marker, markersize=3.5, markevery=every, linewidth=1.4, label=name,
        gid=identifier(ax, "curve", curve.number),
    )  # fmt: skip


def _handle(curve: _Curve) -> Line2D:
    return Line2D(
        [], [], color=curve.colour, linestyle=curve.dashes, marker=curve.marker, markersize=3.5,
        linewidth=1.4,
    )  # fmt: skip
