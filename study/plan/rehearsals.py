"""Tries the conditions of a plan on a few examples, before anything is trained."""

from __future__ import annotations

import sys
from collections.abc import Collection

from study.errors import SpecError
from trainers.conditions.condition import Condition
from trainers.registry import Component


def rehearse(conditions: Collection[Condition]) -> None:
    """Raise SpecError with a line for each entry that cannot be trained as it is.

    It takes a while; a line on stderr says what is tried.
    """
    if conditions:
        networks = {architecture for each in conditions for architecture in _networks(each)}
        counted = (f"{len(networks)} networks", f"{len({each.task for each in conditions})} tasks")
        print(f"checking {' and '.join(map(_singular, counted))} ...", file=sys.stderr, flush=True)
    from trainers.training.rehearsal import Rehearsal, RehearsalError

    rehearsal, mistakes = Rehearsal(), dict[str, None]()
    for condition in conditions:
        try:
            rehearsal.try_out(condition)
        except RehearsalError as error:
            mistakes[str(error)] = None
    if mistakes:
        raise SpecError("\n".join(mistakes))


def _networks(condition: Condition) -> set[Component]:
    return {condition.target, *(term.guide.architecture for term in condition.terms)}


def _singular(counted: str) -> str:
    return counted.removesuffix("s") if counted.startswith("1 ") else counted
