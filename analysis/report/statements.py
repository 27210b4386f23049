"""The spec's rules and published numbers beside measured values, and confirmations."""

from __future__ import annotations

from typing import Any

from analysis.report import listing
from analysis.report.blocks import Datum, Note, Section
from analysis.report.listing import Shown, flag, real, text, whole
from analysis.report.numbers import ABSENT, number, present
from analysis.report.tables import StudyTables


def section(tables: StudyTables) -> Section | None:
    """Rules, published numbers and confirmations; None where the study has none."""
    rows = tables.rows("expectations")
    rules = [row for row in rows if row["place"].startswith("expect")]
    published = [row for row in rows if not row["place"].startswith("expect")]
    confirmed = tables.rows("confirm")
    blocks: list[Any] = []
    if rules:
        blocks.append(Note(text=_counted(rules)))
        columns = [
            text("claim"), text("rule"), flag("holds"), flag("established"),
            real("value", "measured"), _limits(), whole("n"), text("problem"), text("metric"),
        ]  # fmt: skip
        blocks.append(_table(rules, columns, "Rules of the spec (expect:)", "expectations"))
    if published:
        columns = [
            text("rule", "of"), real("value", "measured"), _limits(), whole("n"),
            real("published"), real("published_spread", "its spread"), text("source"),
            text("problem"), text("metric"),
        ]  # fmt: skip
        blocks.append(_table(published, columns, "Published numbers", "published", "expectations"))
    if confirmed:
        columns = [
            text("statement"), text("claim"), text("verdict"), text("confirmed_verdict"),
            real("exploratory_value", "exploratory"), whole("exploratory_n", "n"),
            real("confirmed_value", "at fresh seeds"), whole("confirmed_n", "fresh n"),
            text("problem"),
        ]  # fmt: skip
        blocks.append(_table(confirmed, columns, "Frozen statements at fresh seeds", "confirm"))
    if not blocks:
        return None
    lead = "A rule is established where its whole interval satisfies it, not the estimate alone."
    return Section(anchor="rules", title="Rules and published numbers", lead=lead, blocks=blocks)


def _counted(rules: list[dict[str, Any]]) -> str:
    """How many rules hold, of those that could be checked."""
    checked = [row for row in rules if present(row["holds"])]
    without = len(rules) - len(checked)
    if not checked:
        which = "The rule" if without == 1 else f"The {without} rules"
        return f"{which} of the spec could not be checked: the table says why."
    holding = sum(bool(row["holds"]) for row in checked)
    which = "rule" if len(checked) == 1 else "rules"
    verb = "holds" if holding == len(checked) == 1 else "hold"
    rest = f"; {without} more could not be checked" if without else ""
    return f"{holding} of {len(checked)} {which} of the spec {verb}{rest}."


def _table(
    rows: list[dict[str, Any]], columns: list[Shown], caption: str, name: str, file: str = ""
) -> Any:
    return listing.table(rows, columns, caption=caption, name=name, file=f"{file or name}.parquet")


def _limits() -> Shown:
    def datum(row: listing.Row) -> Datum:
        if not present(row["low"]):
            return Datum(text=ABSENT)
        return Datum(text=f"[{number(row['low'])}, {number(row['high'])}]", value=row["low"])

    return Shown(title="95% interval", number=True, datum=datum)
