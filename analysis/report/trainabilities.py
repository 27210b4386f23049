"""Why targets fail alone: trainability, beside each guide."""

from __future__ import annotations

from analysis.report import listing
from analysis.report.blocks import Section
from analysis.report.listing import Row, of_metric, text, whole, with_limits
from analysis.report.tables import StudyTables
from analysis.trainability import OVERFITS, UNDERFITS

#: Parts of a verdict, with what each compares: a target may do both beside one guide.
_PARTS = {
    OVERFITS: "overfits (larger gap to test data than the guide)",
    UNDERFITS: "underfits (worse on training data than the guide)",
}
_LEAD = (
    "A target overfits where its gap between training and test data is surely larger than the "
    "guide's, underfits where it is surely worse on training data, and converges badly where seeds "
    "fail or part into good and bad ones."
)


def section(tables: StudyTables) -> Section | None:
    """The trainability of each target on each task; None where it was not measured."""
    rows = [row for row in tables.rows("trainability") if row["primary"]]
    if not rows:
        return None
    columns = [
        text("task"), text("target"), text("guide"), listing.words(_verdict, "verdict"), whole("n"),
        whole("n_failed", "failed"), of_metric("train"), of_metric("test"),
        of_metric("guide_train", "guide, train"), of_metric("guide_test", "guide, test"),
        *with_limits("gap_difference", "gap minus guide's"),
        *with_limits("train_difference", "train minus guide's"),
    ]  # fmt: skip
    table = listing.table(
        rows, columns, caption="Targets alone, beside each guide", name="trainability",
        file="trainability.parquet",
    )  # fmt: skip
    return Section(anchor="trainability", title="Trainability", lead=_LEAD, blocks=[table])


def _verdict(row: Row) -> str:
    """The verdict, with what each part of it compares."""
    return ", ".join(_PARTS.get(part, part) for part in str(row["verdict"]).split(", "))
