"""Searches for settings: what each arm chose, and the expected best of each budget."""

from __future__ import annotations

from typing import Any

from analysis.report import listing
from analysis.report.blocks import Datum, Section
from analysis.report.listing import Shown, real, text, values_of, whole
from analysis.report.tables import StudyTables

_ARM = ("role", "task", "target", "guide", "state", "control")
_LEAD = (
    "Every arm had the same number of trials. The expected best of b trials says which arm is "
    "better at which budget; the tuning seeds are in no result."
)
_BUDGETS = (1, 2, 4, 8, 16, 32, 64, 128)


def section(tables: StudyTables) -> Section | None:
    """Choices and budget curves; None where nothing was searched."""
    trials = tables.rows("search")
    if not trials:
        return None
    columns = [
        *map(text, _ARM), text("metric"), whole("budget", "trials"), real("value", "validation"),
        Shown(title="chosen", named=True, datum=lambda row: Datum(text=values_of(row["point"]))),
    ]  # fmt: skip
    chosen = [row for row in trials if row["chosen"]]
    blocks: list[Any] = [
        listing.table(
            chosen, columns, caption="Chosen settings of each arm", name="search",
            file="search.parquet",
        )
    ]  # fmt: skip
    curve = tables.rows("budget_curve")
    if curve:
        blocks.append(_budgets(curve))
    return Section(anchor="search", title="Search", lead=_LEAD, blocks=blocks)


def _budgets(curve: list[dict[str, Any]]) -> Any:
    """The expected best validation value at some budgets, a row for each arm."""
    arms: dict[tuple[Any, ...], dict[str, Any]] = {}
    last = max(row["b"] for row in curve)
    shown = sorted({b for b in (*_BUDGETS, last) if b <= last})
    for row in curve:
        key = tuple(row[name] for name in (*_ARM, "metric"))
        arm = arms.setdefault(key, {name: row[name] for name in (*_ARM, "metric")})
        arm[str(row["b"])] = row["expected"]
    rows = [{str(b): None for b in shown} | arm for arm in arms.values()]
    columns = [*map(text, _ARM), text("metric"), *(real(str(b), f"best of {b}") for b in shown)]
    return listing.table(
        rows, columns, caption="Expected best validation value by budget", name="budget_curve",
        file="budget_curve.parquet",
    )  # fmt: skip
