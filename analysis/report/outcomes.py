"""How the replicates of each condition ended, and why those failed that did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.contract import Status
from analysis.report.tables import StudyTables, condition_of

Key = tuple[Any, ...]


@dataclass
class Outcomes:
    """Numbers of replicates by status, and the first cause of a failure."""

    counts: Counter[str] = field(default_factory=Counter)
    cause: str | None = None

    @property
    def total(self) -> int:
        """Number of replicates."""
        return sum(self.counts.values())

    @property
    def lost(self) -> int:
        """Number of those that failed, or were blocked by a guide that did."""
        return self.counts[Status.failed] + self.counts[Status.blocked]

    def words(self) -> str:
        """Those that did not finish, in words: `2 failed, 1 to train`; empty where all did."""
        names = {
            Status.failed: "failed", Status.blocked: "blocked", Status.missing: "to train",
        }  # fmt: skip
        return ", ".join(
            f"{self.counts[status]} {word}" for status, word in names.items() if self.counts[status]
        )


def outcomes(tables: StudyTables) -> Mapping[Key, Outcomes]:
    """Outcomes of the study's replicates by condition (`condition_of`)."""
    found: dict[Key, Outcomes] = {}
    for row in tables.rows("replicates"):
        each = found.setdefault(condition_of(row), Outcomes())
        each.counts[row["status"]] += 1
        if row["status"] in (Status.failed, Status.blocked) and each.cause is None:
            each.cause = row["error"]
    return found
