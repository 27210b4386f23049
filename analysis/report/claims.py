"""The verdicts in plain words: each with n, interval, and the closest control."""

from __future__ import annotations

from collections import Counter
from typing import Any

from analysis.contract import arm_of, is_rival
from analysis.report.blocks import Claim, Claims, Fact, Heading, Note, Section
from analysis.report.numbers import count, difference, interval, level, mark, present, unit
from analysis.report.tables import Row, StudyTables
from analysis.sentences import sentences
from analysis.verdicts import Kind, kind

#: Sentences of a page: of a study with more rows, those that say most, and a count of the rest.
MAX_CLAIMS = 24
_MARKED = (Kind.specific, Kind.helps, Kind.no_more, Kind.hurts)
_TONES = {Kind.specific: "p5", Kind.helps: "p2", Kind.hurts: "n4"}
_LEAD = (
    "One row of the transfer table each, on the task's primary metric. Intervals are {over}. The "
    "closest control is the one over which guidance has the lowest lower limit. A verdict is as "
    "good as its seeds are many; one that does not hold among all rows of the study says so."
)


def section(tables: StudyTables) -> Section:
    """The verdicts of a study's guided rows and rivals."""
    rows = [*tables.guided(), *tables.rivals()]
    if not rows:
        empty = Note(text="No guided condition yet: there is nothing to compare.", tone="quiet")
        return Section(anchor="verdicts", title="What came out", blocks=[empty])
    chosen = most_telling(rows)
    blocks: list[Any] = []
    if len(chosen) < len(rows):
        blocks.append(Note(text=_summary(rows)))
    for task in dict.fromkeys(row["task"] for row in chosen):
        of_task = [row for row in chosen if row["task"] == task]
        pairs = zip(of_task, sentences(of_task), strict=True)
        blocks.append(Heading(text=task))
        blocks.append(Claims(claims=[_claim(row, text) for row, text in pairs]))
    if len(chosen) < len(rows):
        more = len(rows) - len(chosen)
        text = (
            f"{count(more)} more rows are not put into words here; transfer.parquet has them all."
        )
        blocks.append(Note(text=text, tone="quiet"))
    return Section(
        anchor="verdicts", title="What came out", lead=_LEAD.format(over=_over(rows)), blocks=blocks
    )


def _over(rows: list[Row]) -> str:
    found = list(dict.fromkeys(row["interval"] for row in rows if present(row["interval"])))
    return "; ".join(found) if found else "not there yet: they need three seeds that differ"


def most_telling(rows: list[Row]) -> list[Row]:
    """At most `MAX_CLAIMS` rows, in their order.

    Those that the spec named come first, then those farthest from zero for their interval.
    """

    def rank(row: Row) -> tuple[int, float]:
        named = 0 if present(row["confirm"]) and row["confirm"] else 1
        return named, row["p_value"] if present(row["p_value"]) else 2.0

    best = {id(row) for row in sorted(rows, key=rank)[:MAX_CLAIMS]}
    return [row for row in rows if id(row) in best]


def _summary(rows: list[Row]) -> str:
    verdicts = Counter(str(row["verdict"]) for row in rows)
    words = "; ".join(f"{count(number)} {verdict}" for verdict, number in verdicts.most_common())
    kinds = "conditions" if any(map(is_rival, rows)) else "guided conditions"
    return f"{count(len(rows))} {kinds}: {words}."


def _claim(row: Row, sentence: str) -> Claim:
    metric = row["metric"]
    low, high = row["difference_low"], row["difference_high"]
    found = row["difference"]
    limits = interval(found, low, high, metric) or "no interval"
    facts = [Fact(term="seeds", text=_seeds(row))]
    if present(found):
        facts.append(
            Fact(
                term="difference",
                text=f"{difference(found, metric)} {limits} {unit(metric)}"
                + ("" if row["higher_is_better"] else " (positive is better)"),
            )
        )
        levels = f"{level(row['baseline'], metric)} → {level(row['guided'], metric)}"
        facts.append(Fact(term=f"unguided → {arm_of(row)}", text=levels))
    if present(row["guide_alone"]):
        facts.append(Fact(term="guide trained alone", text=level(row["guide_alone"], metric)))
    facts.append(Fact(term="closest control", text=_control(row)))
    if present(row["verdict_adjusted"]) and row["verdict_adjusted"] != row["verdict"]:
        facts.append(Fact(term="among all rows", text=str(row["verdict_adjusted"])))
    verdict = str(row["verdict"])
    return Claim(
        sentence=sentence,
        verdict=verdict,
        mark=mark(low, high) if kind(verdict) in _MARKED else "",
        tone=_TONES.get(kind(verdict), "p0"),
        facts=facts,
    )


def _seeds(row: Row) -> str:
    lost = row["n_failed"]
    return f"{row['n']}" + (f" ({lost} of {row['n'] + lost} planned are not in)" if lost else "")


def _control(row: Row) -> str:
    """The control with the lowest lower limit, and what guidance has over it."""
    name = row["specific_control"]
    if not present(name):
        missing = row["missing_controls"]
        if is_rival(row) and not present(missing):
            return "none: a rival without a guide or prior has no control"
        return f"no control; it needs {missing}" if present(missing) else "no control was run"
    metric, found = row["metric"], row["specific"]
    limits = interval(found, row["specific_low"], row["specific_high"], metric) or "no interval"
    seeds = "" if row["specific_n"] == row["n"] else f", n {row['specific_n']}"
    text = f"{name}; {arm_of(row)} minus that {difference(found, metric)} {limits}{seeds}"
    return text + (
        f"; missing: {row['missing_controls']}" if present(row["missing_controls"]) else ""
    )
