"""Error consistency: do targets err on the examples on which their guides err?"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from analysis import plots
from analysis.cells import records
from analysis.mixture_labels import is_mixture
from analysis.report import listing
from analysis.report.blocks import Note, Section, Table
from analysis.report.gallery import Gallery
from analysis.report.listing import real, text, whole, with_limits
from analysis.report.tables import StudyTables, targets_of

if TYPE_CHECKING:
    import pandas as pd

_MOST_ROWS = 30
_LEAD = (
    "Kappa of right and wrong answers: 0 where two networks err together as often as their "
    "accuracies make them, 1 where they err on the same examples. A grey bar ends at the "
    "largest kappa that these accuracies allow; excess is what guidance adds. Intervals are over "
    "test examples, for these seeds."
)

_OF_MIXTURES = (
    "Mixtures are left out: kappa is with one guide, and they have several. What they have in "
    "common with unguided targets is in consistency.parquet."
)


def section(tables: StudyTables) -> Section | None:
    """Figures and the table of error consistency; None where it was not computed."""
    frame = tables.frame("consistency")
    guided = frame[frame["control"].notna() & frame["guide"].notna()]
    if guided.empty:
        return None
    mixed = guided["guide"].map(is_mixture).astype(bool)
    of_conditions = guided[~mixed]
    gallery = Gallery("consistency", most_figures=6, most_bytes=250_000)
    for task, target in targets_of(of_conditions):
        own = of_conditions[(of_conditions["task"] == task) & (of_conditions["target"] == target)]
        if not own["kappa"].notna().any():
            continue
        guides = own["guide"].drop_duplicates()
        shown = frame[~frame["control"].notna() | frame.index.isin(own.head(3 * _MOST_ROWS).index)]
        gallery.add(
            partial(plots.consistency, shown, task=task, target=target),
            f"{task}, {target}: kappa with {_names(guides.tolist())}",
        )
    blocks: list[Any] = gallery.close(tables.study)
    if mixed.any():
        blocks.append(Note(text=_OF_MIXTURES, tone="quiet"))
    rows = of_conditions[of_conditions["with"] == "guide"]
    if len(rows):
        blocks.append(_table(rows))
    return Section(anchor="consistency", title="Error consistency", lead=_LEAD, blocks=blocks)


def _table(rows: pd.DataFrame) -> Table:
    columns = [
        *map(text, ("task", "target", "guide", "state", "control", "schedule")),
        *with_limits("kappa", plain=True), *with_limits("excess", plain=True), whole("n"),
        whole("examples"), real("kappa_matched", "kappa at equal accuracy"),
        real("same_wrong", "same wrong answer"),
        *with_limits("own", "own guide minus others", plain=True),
    ]  # fmt: skip
    return listing.table(
        records(rows), columns, caption="Error consistency with the guide", name="consistency",
        file="consistency.parquet",
    )  # fmt: skip


def _names(names: list[Any]) -> str:
    shown = ", ".join(map(str, names[:4]))
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
