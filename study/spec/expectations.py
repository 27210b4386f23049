"""What a spec expects of a study's results, checked before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator

from analysis.expectations import rules
from analysis.expectations.rules import ALIGNMENT, Published, Rule, Term
from analysis.expectations.terms import nothing, select
from study.errors import SpecError
from trainers import tasks
from trainers.errors import UserError
from trainers.registry import Component, UnknownNameError


def _list(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError("give a list")
    return value


_Rule = Annotated[Rule, BeforeValidator(rules.read_rule)]
_Published = Annotated[Published, BeforeValidator(rules.read_published)]
#: What stands under `expect` and under `published`.
Expectations = Annotated[tuple[_Rule, ...], BeforeValidator(_list)]
PublishedNumbers = Annotated[tuple[_Published, ...], BeforeValidator(_list)]


def unknown_metrics(
    expect: Sequence[Rule], published: Sequence[Published], components: Iterable[Component]
) -> Iterator[str]:
    """A line for each rule and published number on a metric that no task of the study has."""
    named = [(place, metric) for place, _, metric in _places(expect, published) if metric]
    if not named:
        return
    known = {ALIGNMENT}
    for component in components:
        try:
            known |= tasks.build(component).higher_is_better.keys()
        except UserError:
            # What is wrong with the task itself is said where it is planned.
            return
    for place, metric in named:
        if metric not in known:
            yield f"{place}.metric: {UnknownNameError('metric', metric, known)}"


def check_terms(
    expect: Sequence[Rule], published: Sequence[Published], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Raise SpecError where a rule's term is of no condition of the plan, or of several.

    `rows` are of the plan's table. A published number may be of a condition that is not planned.
    """
    mistakes = []
    for place, terms, _ in _places(expect, published):
        for term in terms:
            try:
                if select(term, rows) is None and place.startswith("expect"):
                    raise nothing(term, rows)
            except ValueError as error:
                mistakes.append(f"{place}: {error}")
    if mistakes:
        raise SpecError("\n".join(mistakes))


def _places(
    expect: Sequence[Rule], published: Sequence[Published]
) -> Iterator[tuple[str, tuple[Term, ...], str | None]]:
    for index, rule in enumerate(expect):
        yield f"expect[{index}]", rule.terms, rule.metric
    for index, number in enumerate(published):
        yield f"published[{index}]", (number.of,), number.metric
