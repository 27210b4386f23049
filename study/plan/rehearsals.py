"""Tries the conditions of a plan on a few examples, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable

from study.errors import SpecError
from trainers.conditions.condition import Condition


def rehearse(conditions: Iterable[Condition]) -> None:
    """Raise SpecError with a line for each entry that cannot be trained as it is."""
    from trainers.training.rehearsal import Rehearsal, RehearsalError

    rehearsal, mistakes = Rehearsal(), dict[str, None]()
    for condition in conditions:
        try:
            rehearsal.try_out(condition)
        except RehearsalError as error:
            mistakes[str(error)] = None
    if mistakes:
        raise SpecError("\n".join(mistakes))
