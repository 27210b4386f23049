"""Effects over the dials that a study turns: weight, stop step, share of a mixture."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from analysis import plots
from analysis.plots.dials import dials
from analysis.report import listing
from analysis.report.blocks import Section
from analysis.report.gallery import Gallery
from analysis.report.listing import flag, real, text, whole, with_limits
from analysis.report.tables import StudyTables, targets_of

_WORDS = {
    "alpha": "the weight of guidance",
    "stop_step": "the step after which guidance is off",
    "weight": "the first guide's share of a mixture",
}


def section(tables: StudyTables) -> Section | None:
    """Dials of each task and target; None where the study turns none."""
    transfer = tables.frame("transfer")
    primary = transfer[transfer["primary"]]
    gallery = Gallery("dial", most_figures=6, most_bytes=250_000)
    for task, target in targets_of(primary):
        rows = primary[(primary["task"] == task) & (primary["target"] == target)]
        known = rows[rows["difference"].notna()]
        mixtures = tables.frame("dials")
        mixtures = mixtures[mixtures["primary"] & (mixtures["task"] == task)]
        for x in dials(known, mixtures[mixtures["target"] == target]):
            table = mixtures if x == "weight" else known
            gallery.add(
                partial(plots.dial, table, x=x, task=task, target=target),
                f"{task}, {target}: difference over {_WORDS[x]}",
            )
    blocks: list[Any] = [*gallery.close(tables.study), *_mixtures(tables)]
    if not blocks:
        return None
    lead = (
        "Guided minus unguided at each setting, with 95% intervals. The best of several settings "
        "is chosen on the seeds that it is shown for, so it looks better than it is."
    )
    return Section(anchor="dials", title="Dials", lead=lead, blocks=blocks)


def _mixtures(tables: StudyTables) -> Iterator[Any]:
    """Mixtures of guides by their weights, and whether one beats each of its guides alone."""
    rows = [row for row in tables.rows("dials") if row["primary"]]
    if not rows:
        return
    columns = [
        *map(text, ("task", "target", "mixture", "distance", "schedule")),
        text("weights"), *with_limits("difference"), whole("n"),
        flag("beats_ends", "beats all guides alone"),
        text("better_end", "guide alone"), *with_limits("beyond_ends", "mixture minus it"),
        real("beyond_ends_p", "p of all"), real("best_probability", "best in so many draws"),
    ]  # fmt: skip
    yield listing.table(
        rows, columns, caption="Mixtures of guides", name="dials", file="dials.parquet"
    )
