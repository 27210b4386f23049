"""Error consistency: do targets err on the examples on which their guides err?"""

from __future__ import annotations

from functools import partial
from typing import Any

from analysis import plots
from analysis.report import listing
from analysis.report.blocks import Section
from analysis.report.gallery import Gallery
from analysis.report.listing import real, text, whole, with_limits
from analysis.report.tables import StudyTables, targets_of

_MOST_ROWS = 30
_LEAD = (
    "Kappa of right and wrong answers: 0 where two networks err together as often as their "
    "accuracies make them, 1 where they err on the same examples. A grey bar ends at the "
    "largest kappa that these accuracies allow; excess is what guidance adds. Intervals are over "
    "test examples, for these seeds."
)


def section(tables: StudyTables) -> Section | None:
    """Figures and the table of error consistency; None where it was not computed."""
    frame = tables.frame("consistency")
    rows = tables.rows("consistency")
    of_conditions = frame[frame["control"].notna()]
    if of_conditions.empty:
        return None
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
    columns = [
        *map(text, ("task", "target", "guide", "state", "control", "schedule")), whole("n"),
        whole("examples"), *with_limits("kappa", plain=True),
        real("kappa_matched", "kappa at equal accuracy"),
        real("same_wrong", "same wrong answer"), *with_limits("excess", plain=True),
        *with_limits("own", "own guide minus others", plain=True),
    ]  # fmt: skip
    blocks: list[Any] = gallery.close(tables.study)
    blocks.append(
        listing.table(
            [row for row in rows if row["control"] is not None and row["with"] == "guide"], columns,
            caption="Error consistency with the guide", name="consistency",
            file="consistency.parquet",
        )
    )  # fmt: skip
    return Section(anchor="consistency", title="Error consistency", lead=_LEAD, blocks=blocks)


def _names(names: list[Any]) -> str:
    shown = ", ".join(map(str, names[:4]))
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
