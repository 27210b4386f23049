"""Replicates that failed or were blocked, by cause, and what is still to train."""

from __future__ import annotations

from collections import Counter
from typing import Any

from analysis.contract import Status
from analysis.report import listing
from analysis.report.blocks import Note, Section
from analysis.report.listing import text, whole
from analysis.report.numbers import count
from analysis.report.tables import StudyTables

_CONDITION = ("role", "task", "target", "guide", "state", "control", "schedule")


def section(tables: StudyTables) -> Section | None:
    """Failures by cause, a row for each condition and cause; None where all has finished."""
    rows = tables.rows("replicates")
    open_rows = [row for row in rows if row["status"] != Status.finished]
    if not open_rows:
        return None
    counts = Counter(row["status"] for row in tables.distinct)
    parts = {
        "failed": counts[Status.failed],
        "blocked by a guide that failed": counts[Status.blocked],
        "still to train": counts[Status.missing],
    }
    said = ", ".join(f"{count(number)} {word}" for word, number in parts.items() if number)
    blocks: list[Any] = [Note(text=f"Of {count(counts.total())} replicates {said}.")]
    causes = _causes(open_rows)
    if causes:
        columns = [
            whole("replicates"), text("status"), *map(text, _CONDITION), text("seeds"),
            text("cause"),
        ]  # fmt: skip
        blocks.append(
            listing.table(
                causes, columns, caption="Failures by condition and cause", name="failures",
                file="replicates.parquet",
            )
        )  # fmt: skip
        blocks.append(Note(text="archprior retry SPEC trains them again.", tone="quiet"))
    if not causes:
        return Section(anchor="failures", title="Still to train", blocks=blocks)
    return Section(
        anchor="failures",
        title="What failed, and why",
        lead="A seed that failed is an outcome: a verdict holds whatever it would have shown.",
        blocks=blocks,
    )


def _causes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Failed and blocked replicates by condition and cause, the commonest first."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        if row["status"] != Status.missing:
            key = (row["status"], row["error"], *(row[name] for name in _CONDITION))
            found.setdefault(key, []).append(row)
    causes = [
        {
            **{name: members[0][name] for name in ("status", *_CONDITION)},
            "cause": members[0]["error"] or "unknown cause",
            "replicates": len(members),
            "seeds": ", ".join(str(row["seed"]) for row in members),
        }
        for members in found.values()
    ]
    return sorted(causes, key=lambda row: (row["status"] != Status.failed, -row["replicates"]))
