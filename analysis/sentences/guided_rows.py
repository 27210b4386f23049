"""Sentences on guided rows, one form for each kind of verdict.

They say no more than the verdict does: what is not established is neither there nor absent, and
what a control does as well is not the guide's. Text without markup; labels are as in the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analysis.quantities import in_short
from analysis.sentences.facts import RowFacts, control_phrase, num_seeds
from analysis.sentences.notes import failed_seeds, is_undone_by_failures, notes
from analysis.statistics import MIN_SEEDS
from analysis.verdict_words import DESCRIPTIVE, RIVAL_HELPS, Kind, no_more_than

#: Columns that tell guided rows of one study apart, beside guide, state and target, with the word
#: before each in a sentence.
_APART = {"task": "on", "distance": "with", "mapping": "mapped", "schedule": "at"}


def sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each of some guided rows, which names whatever tells it from the others.

    That is its task, and of distance, mapping and schedule what varies among the rows of a task.
    """
    facts = [RowFacts(row) for row in rows]
    tasks = {row.text("task") for row in facts}
    named = ["task"] if len(tasks) > 1 else []
    guided = [row for row in facts if not row.is_rival]
    for column in _APART:
        values = {(row.text("task"), row.text(column)) for row in guided}
        if column != "task" and len(values) > len(tasks):
            named.append(column)
    return [sentence(row, named=named) for row in rows]


def sentence(row: Mapping[str, Any], *, named: Sequence[str] = ()) -> str:
    """The sentence of a guided row, with the reservations that belong to it.

    Args:
        row: a row of `transfer`, by column; what is missing is None, NaN or absent. The row of a
            control gets its difference alone.
        named: columns to name at the beginning, of `task`, `distance`, `mapping` and `schedule`:
            those in which the row differs from others beside it.

    Raises ValueError where its verdict is none.
    """
    facts = RowFacts(row)
    begin, main = _beginning(facts, named), _MAIN[facts.kind](facts)
    first = f"{begin}: {main}" if begin else main
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in (first, *notes(facts)))


def _beginning(facts: RowFacts, named: Sequence[str]) -> str:
    """The words before the colon: metric of a descriptive verdict, condition, tuning."""
    parts = [
        f"{word} {facts.text(name)}"
        for name, word in _APART.items()
        if name in named and facts.text(name)
    ]
    if facts.verdict.startswith(DESCRIPTIVE):
        parts.insert(0, f"descriptive, of {facts.metric}")
    if facts["tuned"]:
        parts.append(f"both sides tuned with {facts['budget']} trials")
    return ", ".join(parts)


def _gain(facts: RowFacts) -> str:
    return f"{facts.who} {facts.change(better=True)} over {num_seeds(facts.n)}"


def _hurts(facts: RowFacts) -> str:
    return f"{facts.who} {facts.change(better=False)} over {num_seeds(facts.n)}"


def _specific(facts: RowFacts) -> str:
    control = control_phrase(facts.text("specific_control")).text
    over = f"{facts.amount('specific')} more than {control}"
    least = "the least surely beaten of the controls it was compared with"
    return f"{_gain(facts)}; {over}, {least}: {facts.owner}"


def _helps(facts: RowFacts) -> str:
    if facts.verdict.removeprefix(DESCRIPTIVE) == RIVAL_HELPS:
        return _gain(facts)
    return f"{_gain(facts)}; {_why_unspecific(facts)}"


def _why_unspecific(facts: RowFacts) -> str:
    """Why a gain is not established to be the guide's: a control not beaten, missing, or none."""
    control, missing = facts.specific_control, facts["missing_controls"]
    if control is not None and not facts.above_zero("specific"):
        shown = "" if facts.below_zero("specific") else "shown to be "
        claim = f"not {shown}{facts.owner}"
        return f"{facts.control_gain(control)} ({_apart(facts)}): {claim}"
    unknown = f"whether that is {facts.owner} is open"
    if missing is not None:
        return f"{unknown}, for want of controls: {missing}"
    if control is None:
        return f"{unknown}, as no control was run"
    return f"{unknown}, as a control has no interval"


def _apart(facts: RowFacts) -> str:
    """How far the least beaten control is from guidance, with the interval and other seeds."""
    over = facts["specific_n"]
    more = facts["specific"] < 0
    seeds = "" if over == facts.n else f" over {num_seeds(over)}"
    return f"{facts.amount('specific', flipped=more)} {'more' if more else 'less'}{seeds}"


def _no_more(facts: RowFacts) -> str:
    control = facts.control_gain(str(no_more_than(facts.verdict)), at_all_seeds=True)
    margin, owner = in_short(facts["margin"], facts.unit), facts.owner.removesuffix("'s")
    return (
        f"{_gain(facts)}; {control}, and what {owner} has over that is "
        f"less than the margin of {margin}: not {facts.owner}"
    )


def _no_effect(facts: RowFacts) -> str:
    margin = in_short(facts["margin"], facts.unit)
    return (
        f"{facts.who} makes no difference to {facts.whom} as large as the margin of {margin}: "
        f"{facts.signed('difference')} over {num_seeds(facts.n)}"
    )


def _open(facts: RowFacts) -> str:
    if not facts.n:
        return f"nothing is known yet of {facts.who} and {facts.whom}: no seed has both results"
    if is_undone_by_failures(facts):
        return f"{_gain(facts)}, but {_at_worst(facts)}: not established"
    effect = f"an effect of {facts.who} on {facts.whom} is not established"
    measured = f"{facts.signed('difference')} over {num_seeds(facts.n)}"
    return f"{effect}: {measured}{''.join(_why_open(facts))}"


def _at_worst(facts: RowFacts) -> str:
    lost = failed_seeds(facts)
    if facts["difference_worst"] is None:
        return f"{lost}, and what that costs is not known, as chance is not"
    return f"{lost}, and at worst the difference is {facts.signed('difference_worst')}"


def _why_open(facts: RowFacts) -> Iterator[str]:
    if facts["difference_low"] is None:
        few = facts.n < MIN_SEEDS
        yield ", too few for an interval" if few else ", all the same, which gives no interval"
    elif facts["margin"] is not None:
        yield f"; whether it is as large as the margin of {in_short(facts['margin'], facts.unit)} "
        yield "is open, too"


def _control(facts: RowFacts) -> str:
    phrase = control_phrase(facts.text("control")).text
    if not facts.n:
        return f"control: nothing is known yet of {phrase} and {facts.whom}"
    return f"control: {phrase}, {facts.signed('difference')} over {num_seeds(facts.n)}"


_MAIN = {
    Kind.specific: _specific,
    Kind.helps: _helps,
    Kind.no_more: _no_more,
    Kind.no_effect: _no_effect,
    Kind.hurts: _hurts,
    Kind.open: _open,
    Kind.control: _control,
}
