"""Maps of guide taps x target taps: before training, guided, and trained without guidance."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from analysis import alignment_rows
from analysis.contract import DISTANCE, Role
from analysis.errors import UserError
from analysis.plots import selection
from analysis.plots.matrices import NO_RESULT, ink_on
from analysis.plots.style import (
    FONT,
    GREY,
    INK,
    LIGHT,
    PLAIN,
    SIMILARITY,
    SMALL,
    axes,
    axis_names,
    bare,
    identifier,
    message,
    number,
    plain,
    shortened,
    text_width,
    title,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: Longest name of a tap in characters.
LONGEST_TAP = 24
#: Most taps of a side whose cells have their numbers in them.
MOST_NUMBERED = 12
#: Gap between two maps, in cells.
_GAP = 0.7


def alignment(
    alignment: pd.DataFrame,
    replicates: pd.DataFrame | None = None,
    *,
    task: str | None = None,
    target: str | None = None,
    guide: str | None = None,
    state: str | None = None,
    schedule: str | None = None,
    part: int | None = None,
    measure: str | None = None,
    pairs: Collection[tuple[str, str]] = (),
    ax: Axes | None = None,
) -> Axes:
    """Draw how similar the taps of a target and a guide are, as maps side by side.

    With `replicates` the maps are of one guided condition: the target before training, the guided
    target, and the unguided one, each trained one beside the guide of its seed; means over seeds.
    Without, they are of the moments that the table holds. One scale, from 0 to 1, is for all maps:
    the stronger the colour, the more similar; hatched where undefined. Taps are in order of depth.

    Args:
        alignment: the study's table of that name.
        replicates: the table `replicates`, or some rows of it.
        task: label of the task, as `target`, `guide`, `state` and `schedule` needed where guided
            conditions differ in it.
        target: label of the target.
        guide: label of the guide.
        state: `trained` or `untrained`.
        schedule: label of the schedule.
        part: of a mixture the number, from 1, of the guide that the maps are beside.
        measure: label of the measure; by default the one over the whole test split, else the one
            that was taken in training.
        pairs: pairs (guide tap, target tap) that guidance maps; they get a frame.
        ax: axes to draw on; by default new ones.

    Raises UserError where several guided conditions or guides are left, and names them.
    """
    needed = ("replicate_id", "moment", "guide_tap", "target_tap", "measure", "similarity")
    selection.need(alignment, "an alignment map", *needed)
    of = {"task": task, "target": target, "guide": guide, "state": state, "schedule": schedule}
    guided = None if replicates is None else _guided(replicates, **of)
    blocks = _blocks(alignment, guided, measure, part)
    ax = _draw_maps(ax, _Maps.of(blocks), frozenset(pairs))
    # A title of what is not drawn yet would say that it is.
    if blocks:
        labels = {str(name) for each in blocks.values() for name in each["measure"].unique()}
        condition, beside = _words(guided, part)
        title(ax, plain(condition), plain(beside + ", ".join(sorted(labels))), above=20)
    return ax


def _blocks(
    alignment: pd.DataFrame, guided: pd.DataFrame | None, measure: str | None, part: int | None
) -> Mapping[str, pd.DataFrame]:
    """Rows of each map by its name: those of a guided condition, or of the table's moments."""
    choose = partial(selection.where, measure=measure) if measure else alignment_rows.of_one_measure
    if guided is not None:
        return alignment_rows.maps(alignment, guided, choose, part=_part(guided, part))
    return {str(each): rows for each, rows in choose(alignment).groupby("moment", sort=False)}


def mapped_pairs(
    history: pd.DataFrame, replicates: pd.DataFrame, part: int | None = None
) -> set[tuple[str, str]]:
    """Pairs (guide tap, target tap) that guidance of these replicates maps.

    Args:
        history: the table `history`, which has the distance of each pair.
        replicates: rows of the table `replicates`.
        part: of a mixture the number, from 1, of the guide that they are with.
    """
    own = history["replicate_id"].isin(replicates["replicate_id"])
    names = history.loc[own & history["metric"].str.startswith(DISTANCE), "metric"].unique()
    found = alignment_rows.of_part(map(alignment_rows.pair_of, names), part)
    return {(guide, target) for target, guide in found}


def _guided(replicates: pd.DataFrame, **wanted: str | None) -> pd.DataFrame:
    """The replicates of one guided condition."""
    selection.need(replicates, "an alignment map", "role", "baseline_id", "guide_id", *wanted)
    rows = selection.where(replicates[replicates["role"] == Role.guided], **wanted)
    varying = selection.differing(rows)
    if varying:
        values = "; ".join(
            f"{column} ({', '.join(map(str, rows[column].drop_duplicates()))})"
            for column in varying
        )
        raise UserError(f"an alignment map is of one guided condition; choose: {values}")
    return rows


def _part(guided: pd.DataFrame, part: int | None) -> int | None:
    """The number of the guide that the maps are beside; None where there is but one."""
    guides = alignment_rows.guides_of(guided)
    if not guides:
        return None
    if part not in guides:
        known = ", ".join(f"{number} ({name})" for number, name in guides.items())
        raise UserError(f"an alignment map is beside one guide of a mixture; give part=: {known}")
    return part


def _words(guided: pd.DataFrame | None, part: int | None) -> tuple[str, str]:
    """The condition, and of a mixture the begin of a second line: the guide beside it."""
    if guided is None or guided.empty:
        return "", ""
    row = guided.iloc[0]
    words = f"{row['task']}: {row['target']} <- {row['guide']} {row['state']}, {row['schedule']}"
    beside = alignment_rows.guides_of(guided).get(part or 0)
    return words, f"beside {beside}; " if beside else ""


@dataclass(frozen=True, kw_only=True)
class _Maps:
    """Mean similarities `(guide taps, target taps)` by name of the map; NaN where undefined."""

    guide_taps: list[str]
    target_taps: list[str]
    similarities: Mapping[str, np.ndarray[tuple[int, int], np.dtype[np.float64]]]

    @classmethod
    def of(cls, blocks: Mapping[str, pd.DataFrame]) -> _Maps:
        """Means over replicates of the rows of each map."""
        tables = [*blocks.values()]
        guides = dict.fromkeys(tap for each in tables for tap in each["guide_tap"])
        targets = dict.fromkeys(tap for each in tables for tap in each["target_tap"])
        found = {}
        for name, rows in blocks.items():
            means = rows.groupby(["guide_tap", "target_tap"], sort=False)["similarity"].mean()
            table = means.unstack("target_tap").reindex(index=[*guides], columns=[*targets])
            found[name] = table.to_numpy(dtype=float)
        return cls(guide_taps=[*guides], target_taps=[*targets], similarities=found)

    def start(self, place: int) -> float:
        """Left edge of a map, in cells."""
        return place * (len(self.target_taps) + _GAP)


def _draw_maps(ax: Axes | None, maps: _Maps, pairs: Collection[tuple[str, str]]) -> Axes:
    """Draw maps with the names of their taps, on new axes of their size unless some are given."""
    taps = shortened(maps.guide_taps, LONGEST_TAP), shortened(maps.target_taps, LONGEST_TAP)
    count = len(maps.similarities)
    side = 0.42 if max(map(len, taps)) <= MOST_NUMBERED else 0.16
    ax = axes(
        ax,
        width=1.6 + text_width(taps[0]) + side * count * max(len(taps[1]), 2),
        height=1.1 + side * max(len(taps[0]), 2) + text_width(taps[1]),
    )
    if not count:
        return message(ax, "no taps were compared yet")
    _draw(ax, maps, pairs)
    _label(ax, maps, *taps)
    return ax


def _draw(ax: Axes, maps: _Maps, pairs: Collection[tuple[str, str]]) -> None:
    values = np.concatenate([each.ravel() for each in maps.similarities.values()])
    known = values[np.isfinite(values)]
    low, high = min(known.min(initial=0), 0), max(known.max(initial=0), 1)
    colours = ScalarMappable(Normalize(low, high), SIMILARITY)
    for place, (name, table) in enumerate(maps.similarities.items()):
        for (row, column), value in np.ndenumerate(table):
            words = f"{name}, {maps.guide_taps[row]} and {maps.target_taps[column]}"
            mapped = (maps.guide_taps[row], maps.target_taps[column]) in pairs
            corner = (maps.start(place) + column, row)
            _draw_cell(
                ax, corner, float(value), colours, plain(words), place=(place, row, column),
                mapped=mapped, numbered=max(table.shape) <= MOST_NUMBERED,
            )  # fmt: skip
        ax.annotate(
            name, (maps.start(place), 0), xytext=(0, 4), textcoords="offset points",
            fontsize=FONT, va="bottom", color=INK, **PLAIN,
        )  # fmt: skip
    bar = ax.figure.colorbar(colours, ax=ax, shrink=0.8, aspect=25)
    bar.ax.tick_params(labelsize=SMALL)
    bar.outline.set_visible(False)


def _draw_cell(
    ax: Axes,
    corner: tuple[float, float],
    value: float,
    colours: ScalarMappable,
    words: str,
    *,
    place: tuple[int, int, int],
    mapped: bool,
    numbered: bool,
) -> None:
    """Draw the cell in map `place[0]`, row `place[1]`, column `place[2]`."""
    known = bool(np.isfinite(value))
    face: Any = colours.to_rgba(np.array(value)) if known else "white"
    ax.add_artist(
        Rectangle(
            corner, 1, 1, facecolor=face, edgecolor="white" if known else LIGHT, linewidth=0.5,
            hatch=None if known else NO_RESULT, label=f"{words}: {number(value)}",
            gid=identifier(ax, "cell", *place), in_layout=False,
        )
    )  # fmt: skip
    if mapped:
        # Two lines, of which one is seen on any colour.
        for colour, width in (("white", 2.6), (INK, 1.2)):
            ax.add_artist(
                Rectangle(
                    (corner[0] + 0.06, corner[1] + 0.06), 0.88, 0.88, fill=False,
                    edgecolor=colour, linewidth=width, zorder=3, in_layout=False,
                )
            )  # fmt: skip
    if known and numbered:
        ax.text(
            corner[0] + 0.5, corner[1] + 0.5, f"{value:.2f}".replace("0.", ".", 1),
            ha="center", va="center", fontsize=5.5, color=ink_on(face), in_layout=False, **PLAIN,
        )  # fmt: skip


def _label(ax: Axes, maps: _Maps, guide_taps: list[str], target_taps: list[str]) -> None:
    count, width = len(maps.similarities), len(target_taps)
    places = [maps.start(k) + tap + 0.5 for k in range(count) for tap in range(width)]
    ax.set_xticks(places, labels=target_taps * count, fontsize=SMALL, rotation=90, **PLAIN)
    rows = np.arange(len(guide_taps)) + 0.5
    ax.set_yticks(rows, labels=guide_taps, fontsize=SMALL, **PLAIN)
    ax.set_xlim(0, maps.start(count - 1) + width)
    ax.set_ylim(len(guide_taps), 0)
    ax.tick_params(length=0, colors=GREY)
    axis_names(ax, "target tap", "guide tap")
    bare(ax)
