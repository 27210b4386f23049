"""The page of a comparison: one HTML file without scripts, which loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from analysis.cells import records
from analysis.comparison import LEGEND, Outcome, condition, counted, differing
from analysis.quantities import fixed

if TYPE_CHECKING:
    import pandas as pd

_HEADS = (
    "condition", "metric", "quantity", "first", "second", "seeds", "difference", "95% interval",
    "verdicts", "outcome",
)  # fmt: skip
_NUMERIC = ("first", "second", "seeds", "difference", "95% interval")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("analysis"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("comparison.html.j2")


def page(
    table: pd.DataFrame,
    first: str,
    second: str,
    commits: tuple[Sequence[str], Sequence[str]] = ((), ()),
    notes: Sequence[str] = (),
) -> str:
    """The page of a comparison table as HTML; names of studies and labels are shown as text.

    `notes` stand above the table, marked.
    """
    rows = records(table)
    alone = [
        (
            outcome.value.capitalize(),
            [
                f"{condition(row)} ({row['metric']})"
                for row in rows
                if row["outcome"] == outcome and row["quantity"] == "level"
            ],
        )
        for outcome in (Outcome.only_first, Outcome.only_second)
    ]
    return _template().render(
        first=first,
        second=second,
        sides=[("first", first, commits[0]), ("second", second, commits[1])],
        notes=notes,
        summary=counted(rows),
        heads=_HEADS,
        numeric=_NUMERIC,
        numbers=[_HEADS.index(name) for name in _NUMERIC],
        rows=[_shown(row) for row in differing(table)],
        alone=[(title, names) for title, names in alone if names],
        legend=LEGEND,
    )


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    low, high = row["difference_low"], row["difference_high"]
    verdicts = [row["verdict_first"], row["verdict_second"]]
    changed = verdicts if verdicts[0] != verdicts[1] else verdicts[:1]
    cells = [
        condition(row),
        row["metric"],
        row["quantity"],
        *(f"{row[side]:.3f}" for side in ("first", "second")),
        f"{row['n']}" if row["n"] else f"{row['n_first']}, {row['n_second']}",
        "" if row["difference"] is None else fixed(row["difference"], 3, signed=True),
        "" if low is None else f"{fixed(low, 3, signed=True)} .. {fixed(high, 3, signed=True)}",
        " → ".join(each or "none" for each in changed) if any(verdicts) else "",
        row["outcome"],
    ]
    return {"cells": cells, "differs": row["outcome"] == Outcome.differs}
