"""The `confirm` table: statements that were frozen, beside their values at seeds never used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analysis.cells import records
from analysis.contract import CONDITION_COLUMNS
from analysis.errors import UserError
from analysis.expectations import rules
from analysis.expectations.rules import Confirm
from analysis.expectations.table import expectation_table
from analysis.expectations.terms import nothing, select
from analysis.schema import frame_of, schema
from analysis.verdict_words import AT_EQUAL_STEPS, HELPS, OPEN, Kind, kind

if TYPE_CHECKING:
    import pandas as pd

CONFIRMED, NOT_CONFIRMED, CONTRADICTED = "confirmed", "not confirmed", "contradicted"
#: Verdicts on rules: by the value, and then by the whole interval.
HOLDS, FAILS, ESTABLISHED = "holds", "fails", ", established"

Row = dict[str, Any]
_EMPTY: Row = dict.fromkeys(
    ("metric", "value", "low", "high", "p", "margin", "verdict", "problem"), None
)
_SHOWN = ("value", "low", "high", "n", "verdict")
_HELPING = frozenset((Kind.specific, Kind.helps, Kind.no_more))


def statements(
    study: str, spec: Mapping[str, Any], table: Callable[[str], pd.DataFrame]
) -> list[Row]:
    """Values and verdicts of a spec's rules (`expect`) and rows to confirm (`confirm`).

    Each is plain JSON with the keys place, statement, claim, metric, value, low, high, n, p,
    margin, verdict and problem. `table` gives a table of the study by its name, as for
    `expectation_table`. Raises UserError where an entry of `confirm` is no row.
    """
    expect = list(spec.get("expect") or [])
    measured = records(expectation_table(study, {"expect": expect}, table))
    found = [_of_rule(entry, row) for entry, row in zip(expect, measured, strict=True)]
    replicates, transfer = records(table("replicates")), records(table("transfer"))
    for index, entry in enumerate(spec.get("confirm") or []):
        confirm = rules.read_confirm(entry)
        row: Row = {"place": f"confirm[{index}]", "statement": str(confirm.row), "n": 0}
        try:
            row |= _of_row(confirm, replicates, transfer)
        except UserError as error:
            row["problem"] = str(error)
        found.append(_EMPTY | row | {"claim": confirm.claim})
    return found


def confirm_table(
    exploratory: Sequence[Row],
    fresh: Sequence[Row],
    *,
    study: str,
    confirmation: str,
    attempt: int,
    num_seeds: int,
) -> pd.DataFrame:
    """The frozen statements beside those of the study `confirmation` at `num_seeds` fresh seeds.

    A rule is confirmed where its whole interval satisfies it, and contradicted where no part does.
    A row is confirmed where its verdict among the named rows is the exploratory one, or a stronger
    one; where that was "not established", it is asked whether guidance helps. One that holds at
    equal steps only does not confirm one that held at equal compute.
    """
    rows = []
    for before, now in zip(exploratory, fresh, strict=True):
        asked = _asked(before)
        verdict, problem = _verdict(asked, now, num_seeds)
        rows.append(
            {name: before[name] for name in ("place", "statement", "claim")}
            | {"study": study, "confirmation": confirmation, "attempt": attempt}
            | {"metric": now["metric"] or before["metric"], "asked": asked}
            | {f"exploratory_{name}": before[name] for name in _SHOWN}
            | {f"confirmed_{name}": now[name] for name in _SHOWN}
            | {"confirmed_p": now["p"], "verdict": verdict, "problem": problem}
        )
    return frame_of(rows, schema("confirm"))


def _of_rule(entry: Any, row: Mapping[str, Any]) -> Row:
    copied = ("place", "claim", "metric", "value", "low", "high", "n", "problem")
    found = {name: row[name] for name in copied} | {"statement": row["rule"]}
    if row["holds"] is None:
        return _EMPTY | found
    if row["holds"]:
        established = row["established"]
    else:
        rule, ends = rules.read_rule(entry), (row["low"], row["high"])
        established = None not in ends and not any(map(rule.holds, ends))
    verdict = (HOLDS if row["holds"] else FAILS) + (ESTABLISHED if established else "")
    return _EMPTY | found | {"verdict": verdict}


def _of_row(
    confirm: Confirm, replicates: Sequence[Mapping[str, Any]], transfer: Sequence[Mapping[str, Any]]
) -> Row:
    """The row's primary metric in the table `transfer`. Raises UserError where there is no one."""
    chosen = select(confirm.row, replicates)
    if chosen is None:
        raise nothing(confirm.row, replicates)
    replicate = next(iter(chosen.rows.values()))
    row = next(
        row
        for row in transfer
        if row["primary"] and all(row[name] == replicate[name] for name in CONDITION_COLUMNS)
    )
    return {
        "metric": row["metric"],
        "value": row["difference"],
        "low": row["difference_low"],
        "high": row["difference_high"],
        "n": row["n"],
        "p": row["p_adjusted"],
        "margin": row["margin"],
        "verdict": row["verdict_adjusted"],
    }


def _asked(exploratory: Row) -> str:
    """The verdict that fresh seeds have to give."""
    if exploratory["place"].startswith("expect"):
        return HOLDS + ESTABLISHED
    verdict = exploratory["verdict"]
    return HELPS if verdict in (None, OPEN) else str(verdict)


def _verdict(asked: str, now: Row, num_seeds: int) -> tuple[str, str | None]:
    """The verdict on a statement, and why fresh seeds could not decide."""
    found = now["verdict"]
    if found is None:
        return NOT_CONFIRMED, now["problem"] or "no value at fresh seeds"
    if now["place"].startswith("expect"):
        if now["n"] < num_seeds:
            # A lost seed is an outcome: the others alone say too much.
            return NOT_CONFIRMED, f"{now['n']} of {num_seeds} seeds have a value"
        if now["low"] is None:
            return NOT_CONFIRMED, f"no interval: {num_seeds} seeds without any spread"
        if found == asked:
            return CONFIRMED, None
        return CONTRADICTED if found == FAILS + ESTABLISHED else NOT_CONFIRMED, None
    return _verdict_on_row(asked, now), None


def _verdict_on_row(asked: str, now: Row) -> str:
    found = now["verdict"]
    less = found.endswith(AT_EQUAL_STEPS) and not asked.endswith(AT_EQUAL_STEPS)
    found, asked = found.removesuffix(AT_EQUAL_STEPS), asked.removesuffix(AT_EQUAL_STEPS)
    if found == asked or (kind(asked) == Kind.helps and kind(found) in _HELPING):
        return NOT_CONFIRMED if less else CONFIRMED
    return CONTRADICTED if _contradicts(kind(found), kind(asked), now) else NOT_CONFIRMED


def _contradicts(found: Kind, asked: Kind, now: Row) -> bool:
    """Whether one established verdict on a row excludes another."""
    if asked == Kind.no_effect:
        # An effect that may still lie inside the margin excludes nothing.
        outside = None not in (now["low"], now["margin"])
        return outside and (now["low"] > now["margin"] or now["high"] < -now["margin"])
    if asked == Kind.hurts:
        return found in _HELPING or found == Kind.no_effect
    if {asked, found} == {Kind.specific, Kind.no_more}:
        return True
    return found in (Kind.hurts, Kind.no_effect)
