"""Which guide teaches best: what was known of guides beforehand, against what came of them."""

from __future__ import annotations

from analysis.predictors.association import MIN_GUIDES
from analysis.report import listing
from analysis.report.blocks import Section
from analysis.report.listing import real, text, whole, with_limits
from analysis.report.tables import Row, StudyTables

#: Columns of `predictors` that tell groups of guides apart, with the predictor.
_GROUP = ("task", "state", "distance", "mapping", "schedule", "predictor")
_LEAD = (
    "Spearman's correlation, over guides, of what is known of a guide beforehand with what its "
    "guidance changed, each less its mean at the target; the interval is over drawn guides, p over "
    f"permuted ones. Fewer than {MIN_GUIDES} guides establish nothing, and a few more little: with "
    "36 independent conditions, the interval of a correlation of .5 would be +-.26. Error "
    "reduction is by how much the gain of a guide left out is predicted better than by the mean of "
    "the others."
)


def section(tables: StudyTables) -> Section | None:
    """The predictors of each group of guides; None where there are too few for a correlation."""
    groups: dict[tuple[object, ...], Row] = {}
    for row in tables.rows("predictors"):
        if row["spearman"] is not None:
            groups.setdefault(tuple(row[name] for name in _GROUP), row)
    if not groups:
        return None
    columns = [
        *map(text, _GROUP), text("verdict"), whole("guides"), whole("targets"),
        *with_limits("spearman", plain=True), real("spearman_p", "p"),
        *with_limits("error_reduction"),
    ]  # fmt: skip
    table = listing.table(
        list(groups.values()), columns, caption="What tells which guide teaches best",
        name="predictors", file="predictors.parquet",
    )  # fmt: skip
    return Section(anchor="guide-choice", title="Choice of guide", lead=_LEAD, blocks=[table])
