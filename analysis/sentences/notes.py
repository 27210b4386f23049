"""Reservations that belong to the sentence of a guided row, a sentence each."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.sentences.facts import RowFacts
from analysis.statistics import MIN_SEEDS
from analysis.verdict_words import AT_EQUAL_STEPS, OPEN, Kind

#: Verdicts that there is an effect.
_EFFECTS = (Kind.specific, Kind.helps, Kind.no_more, Kind.hurts)


def notes(facts: RowFacts) -> Iterator[str]:
    """Reservations beside the verdict, without full stops; none of controls."""
    if facts.kind == Kind.control:
        return
    yield from _failures(facts)
    yield from _equal_compute(facts)
    if facts["seeds_disagree"] and facts.n >= MIN_SEEDS:
        yield (
            f"seeds disagree: {facts['guided_success']:.0%} of {facts.arm} and "
            f"{facts['baseline_success']:.0%} of unguided seeds learn, so the interval is too "
            "narrow"
        )
    if facts.kind in _EFFECTS and facts["verdict_adjusted"] == OPEN:
        p = facts["p_adjusted"]
        adjusted = "" if p is None else f" (adjusted p {p:.2g})"
        yield f"among all rows that were tested this is not established{adjusted}"
    if facts.kind in (Kind.open, Kind.no_effect):
        yield from _why_there_may_be_nothing(facts)


def failed_seeds(facts: RowFacts) -> str:
    """How many seeds of which arm failed, in words; empty where none did."""
    planned = facts.n + int(facts["n_failed"] or 0)
    arms = ((facts.arm, "n_failed_guided"), ("unguided", "n_failed_baseline"))
    lost = [
        f"{facts[column]} of {planned} {arm} seeds failed" for arm, column in arms if facts[column]
    ]
    return " and ".join(lost)


def _failures(facts: RowFacts) -> Iterator[str]:
    lost = failed_seeds(facts)
    if lost and not is_undone_by_failures(facts):
        stays = facts.kind in (Kind.specific, Kind.helps, Kind.no_more)
        yield f"{lost}; at worst it is still {facts.signed('difference_worst')}" if stays else lost
    failed = int(facts["n_failed_guided"] or 0) + int(facts["n_failed_baseline"] or 0)
    waiting = int(facts["n_failed"] or 0) - failed
    if waiting > 0:
        more = " more" if facts.n or failed else ""
        yield f"{waiting}{more} {'seed has' if waiting == 1 else 'seeds have'} not ended"


def is_undone_by_failures(facts: RowFacts) -> bool:
    """Whether the interval is above zero, and failed seeds still leave open if guidance helps."""
    return facts.kind == Kind.open and facts.above_zero("difference")


def _equal_compute(facts: RowFacts) -> Iterator[str]:
    """The gain against a baseline of equal compute."""
    if facts.kind not in (Kind.specific, Kind.helps, Kind.no_more):
        return
    if facts["difference_matched"] is None:
        if facts.verdict.endswith(AT_EQUAL_STEPS):
            yield "whether it does at equal compute is open: the matched baseline has no result"
        return
    there = facts.signed("difference_matched")
    if facts.above_zero("difference_matched"):
        yield f"at equal compute it is {there}"
    elif facts.below_zero("difference_matched"):
        yield f"with as much compute the target alone does better: {there}"
    else:
        yield f"at equal compute this is not established: {there}"


def _why_there_may_be_nothing(facts: RowFacts) -> Iterator[str]:
    """Explanations of a missing effect: a guide without a lead, a distance that did not fall."""
    if facts["at_ceiling"]:
        yield "the guide's architecture, trained alone, is no better than the target alone"
    start, end = facts["distance_start"], facts["distance_end"]
    if start is not None and end is not None and end >= start:
        yield f"the distance did not fall ({start:.3g} to {end:.3g}): guidance was hardly at work"
