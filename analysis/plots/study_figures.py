"""All panels of one kind of figure for a study, one below the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from analysis.alignment_rows import guides_of
from analysis.contract import VALIDATION, Role
from analysis.errors import UserError, unknown
from analysis.mixture_labels import is_mixture
from analysis.plots import selection
from analysis.plots.alignment_maps import alignment, mapped_pairs
from analysis.plots.dials import dial, dials, of_mixtures
from analysis.plots.error_consistency import consistency
from analysis.plots.forests import forest
from analysis.plots.interval_rows import share_range
from analysis.plots.learning_curves import curves
from analysis.plots.matrices import matrix
from analysis.plots.style import message
from analysis.schema import frame_of, schema

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: Reads a table by its name.
Load = Callable[[str], "pd.DataFrame"]
#: Draws on the axes given, or on new ones.
Panel = partial["Axes"]

#: Most panels of one figure.
MOST_PANELS = 24
#: Guided conditions whose alignment one figure shows.
MOST_ALIGNMENTS = 4


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Part of a study that a figure shows; None is all of it.

    `value` is the column of a matrix or dial, `metric` the test metric of a matrix, forest plot or
    dial, and of learning curves a name of the history.
    """

    task: str | None = None
    target: str | None = None
    guide: str | None = None
    metric: str | None = None
    value: str = "difference"

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Rows of the chosen task, target and guide."""
        return selection.where(frame, task=self.task, target=self.target, guide=self.guide)


def study_figure(kind: str, load: Load, choice: Choice = Choice()) -> Figure:
    """A figure of one of `KINDS`, with a panel for each task, and target where that helps.

    Raises UserError for an unknown kind, where nothing of the study is of the kind (no dial was
    turned), and where there would be more than 24 panels: choose a task, target or guide.
    """
    if kind not in KINDS:
        raise unknown("figure:", kind, KINDS)
    panels = [*KINDS[kind].panels(load, choice)]
    if len(panels) > MOST_PANELS:
        raise UserError(
            f"{kind}: {len(panels)} panels, more than {MOST_PANELS}; choose a task, target or guide"
        )
    if not panels:
        panels = [partial(_said, f"{kind}: nothing to show yet")]
    # A panel is drawn once for its size, because axes cannot move to another figure.
    sizes = [_size(panel) for panel in panels]
    width, height = max(size[0] for size in sizes), sum(size[1] for size in sizes)
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.add_gridspec(len(panels), 1, height_ratios=[size[1] for size in sizes])
    drawn = [panel(ax=figure.add_subplot(grid[place])) for place, panel in enumerate(panels)]
    if KINDS[kind].one_range:
        tasks = [panel.keywords.get("task") for panel in panels]
        for task in dict.fromkeys(tasks):
            share_range([ax for ax, its in zip(drawn, tasks, strict=True) if its == task])
    return figure


def _size(panel: Panel) -> tuple[float, float]:
    """Width and height in inches of a panel alone."""
    figure = panel(ax=None).get_figure(root=True)
    assert figure is not None
    width, height = figure.get_size_inches()
    return float(width), float(height)


def _said(text: str, ax: Axes | None) -> Axes:
    """A panel of one line."""
    if ax is None:
        ax = Figure(figsize=(4, 0.8), layout="constrained").add_subplot()
    return message(ax, text)


def _tasks(frame: pd.DataFrame) -> list[str]:
    return [str(task) for task in frame["task"].drop_duplicates()]


def _places(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of task and target."""
    pairs = frame[["task", "target"]].drop_duplicates()
    return [(str(task), str(target)) for task, target in pairs.itertuples(index=False)]


def _matrices(load: Load, choice: Choice) -> Iterator[Panel]:
    table = next(
        (name for name in ("transfer", "priors") if choice.value in schema(name).names), None
    )
    if table is None:
        known = {*schema("transfer").names, *schema("priors").names}
        raise unknown("value:", choice.value, known)
    rows = choice.of(load(table))
    for task in _tasks(rows):
        yield partial(matrix, rows, value=choice.value, metric=choice.metric, task=task)


def _forests(load: Load, choice: Choice) -> Iterator[Panel]:
    rows, pairs = choice.of(load("transfer")), load("pairs")
    for task, target in _places(rows):
        of: dict[str, Any] = {"task": task, "target": target, "metric": choice.metric}
        for against in ("baseline", "controls"):
            yield partial(forest, rows, pairs, against=against, **of)


def _curves(load: Load, choice: Choice) -> Iterator[Panel]:
    replicates, history = load("replicates"), selection.where(load("history"), metric=choice.metric)
    validation = history["metric"].str.startswith(VALIDATION)
    if choice.metric is None and validation.any():
        # Each panel looks through all reports: most of a large study's are of other metrics.
        history = history[validation]
    wanted = choice.of(replicates[replicates["role"] == Role.guided])
    for task, target in _places(wanted):
        of: dict[str, Any] = {"task": task, "target": target, "metric": choice.metric}
        yield partial(curves, history, replicates, **of)


def _dials(load: Load, choice: Choice) -> Iterator[Panel]:
    rows = choice.of(load("transfer"))
    mixed = any(map(is_mixture, rows["guide"].dropna().unique()))
    mixtures = of_mixtures(load("dials") if mixed else frame_of([], schema("dials")), rows)
    panels = []
    for task, target in _places(rows):
        of: dict[str, Any] = {"task": task, "target": target}
        here = (
            each[(each["task"] == task) & (each["target"] == target)] for each in (rows, mixtures)
        )
        for x in dials(*here):
            table = mixtures if x == "weight" else rows
            panels.append(partial(dial, table, x=x, value=choice.value, metric=choice.metric, **of))
    if len(rows) and not panels:
        raise UserError(
            "dial: no guided conditions differ in alpha, stop_step or the weights of a mixture"
        )
    yield from panels


def _alignments(load: Load, choice: Choice) -> Iterator[Panel]:
    replicates, measured = load("replicates"), load("alignment")
    guided = choice.of(replicates[replicates["role"] == Role.guided])
    columns = [column for column in selection.NAMING if column not in ("study", "control")]
    conditions = [rows for _, rows in guided.groupby(columns, dropna=False, sort=False)]
    history = load("history")
    for rows in conditions[:MOST_ALIGNMENTS]:
        for part in guides_of(rows) or [None]:
            pairs = mapped_pairs(history, rows, part)
            yield partial(alignment, measured, rows, part=part, pairs=pairs)
    left_out = len(conditions) - MOST_ALIGNMENTS
    if left_out > 0:
        yield partial(
            _said,
            f"{left_out} of {len(conditions)} guided conditions are not drawn: "
            "choose with --task, --target or --guide",
        )


def _consistencies(load: Load, choice: Choice) -> Iterator[Panel]:
    table = load("consistency")
    rows = choice.of(table[table["control"].notna()])
    for task, target in _places(rows):
        yield partial(consistency, table, task=task, target=target)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of figure: the tables that it needs, and its panels for a study.

    `one_range`: panels of one task have one range of values.
    """

    tables: tuple[str, ...]
    panels: Callable[[Load, Choice], Iterator[Panel]]
    about: str = field(default="")
    one_range: bool = False


#: Kinds of figures of a study, by name.
KINDS: Mapping[str, Kind] = MappingProxyType({
    "matrix": Kind(tables=("transfer",), panels=_matrices, about="guides x targets"),
    "forest": Kind(
        tables=("transfer", "pairs"), panels=_forests, about="effects, each seed a dot",
        one_range=True,
    ),
    "curves": Kind(tables=("history", "replicates"), panels=_curves, about="learning curves"),
    "dial": Kind(
        tables=("transfer", "dials"), panels=_dials, about="effect over alpha or a weight"
    ),
    "alignment": Kind(
        tables=("alignment", "replicates", "history"), panels=_alignments, about="taps x taps"
    ),
    "consistency": Kind(
        tables=("consistency",), panels=_consistencies, about="errors shared with the guide"
    ),
})  # fmt: skip
