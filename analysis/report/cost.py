"""Cost of a study: what was expected before training beside what it took, and its provenance."""

from __future__ import annotations

from typing import Any

from analysis.contract import Role, Status
from analysis.quantities import duration
from analysis.report import listing
from analysis.report.blocks import Datum, Fact, FactList, Note, Section
from analysis.report.listing import Shown, text, whole
from analysis.report.numbers import ABSENT, present
from analysis.report.tables import StudyTables

_FACTS = {
    "archprior_version": "archprior", "git_commit": "commit",
    "git_diff_sha256": "uncommitted changes", "source_digest": "digest of the sources",
    "python_version": "Python", "torch_version": "PyTorch", "ray_version": "Ray",
    "mlflow_version": "MLflow", "numpy_version": "NumPy", "pandas_version": "pandas",
    "pyarrow_version": "PyArrow", "host": "host", "imports": "imports",
}  # fmt: skip


def section(tables: StudyTables) -> Section:
    """Training time by role, expected and taken."""
    rows = tables.distinct
    by_role = [_cost(str(role), [r for r in rows if r["role"] == role], tables) for role in Role]
    shown = [row for row in by_role if row["replicates"]]
    if len(shown) > 1:
        shown.append(_cost("all", rows, tables))
    columns = [
        text("role"), whole("replicates"), whole("finished"), _time("actual", "training time"),
        _time("mean", "a replicate"), _time("expected", "of these expected"), _ratio(),
    ]  # fmt: skip
    blocks: list[Any] = [
        listing.table(
            shown, columns, caption="Training time by role", name="cost", file="replicates.parquet"
        )
    ]
    if not tables.expected_seconds:
        blocks.append(
            Note(text="What was expected is not known: no run has written it.", tone="quiet")
        )
    return Section(
        anchor="cost",
        title="Cost",
        lead="Training time is the sum over replicates, whatever ran at once. What was expected "
        "before training is set beside what the same replicates took.",
        blocks=blocks,
    )


def _cost(role: str, rows: list[dict[str, Any]], tables: StudyTables) -> dict[str, Any]:
    """Times of replicates of a role; those that were expected over replicates that have both."""
    expected = tables.expected_seconds
    finished = [r for r in rows if r["status"] == Status.finished and present(r["train_seconds"])]
    both = [row for row in finished if row["replicate_id"] in expected]
    actual = sum(row["train_seconds"] for row in finished)
    predicted = sum(expected[row["replicate_id"]] for row in both)
    return {
        "role": role,
        "replicates": len(rows),
        "finished": len(finished),
        "actual": actual if finished else None,
        "mean": actual / len(finished) if finished else None,
        "expected": predicted if both else None,
        "ratio": sum(r["train_seconds"] for r in both) / predicted if both and predicted else None,
    }


def _time(name: str, title: str) -> Shown:
    def datum(row: listing.Row) -> Datum:
        value = row[name]
        return Datum(text=ABSENT if value is None else duration(value), value=value)

    return Shown(title=title, number=True, datum=datum)


def _ratio() -> Shown:
    def datum(row: listing.Row) -> Datum:
        value = row["ratio"]
        return Datum(
            text=ABSENT if value is None else f"{value:.{2 if value < 10 else 0}f} ×", value=value
        )

    return Shown(title="taken / expected", number=True, datum=datum)


def provenance(tables: StudyTables) -> Section:
    """Code, versions and data behind the numbers."""
    found = dict(tables.metadata.get("provenance", {}))
    facts = [
        Fact(term=title, text=str(found.pop(name)), code=True)
        for name, title in _FACTS.items()
        if name in found
    ]
    facts += [
        Fact(term=name.replace("data_fingerprint", "data of"), text=str(value), code=True)
        for name, value in found.items()
    ]
    for column, title in (("torch_version", "trained with PyTorch"), ("device", "trained on")):
        values = tables.frame("replicates")[column].dropna().unique().tolist()
        if values:
            facts.append(Fact(term=title, text=", ".join(map(str, values)), code=True))
    if "created" in tables.metadata:
        facts.append(Fact(term="tables written", text=str(tables.metadata["created"]), code=True))
    return Section(
        anchor="provenance",
        title="Provenance",
        lead="The code and machine that planned the study, and the data it was trained on.",
        blocks=[FactList(facts=facts)],
    )
