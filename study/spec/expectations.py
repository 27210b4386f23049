"""The keys `expect` and `published` of a spec, checked before anything starts."""

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
#: Types of the keys `expect` and `published`.
Expectations = Annotated[tuple[_Rule, ...], BeforeValidator(_list)]
PublishedNumbers = Annotated[tuple[_Published, ...], BeforeValidator(_list)]


def unknown_metrics(
    expect: Sequence[Rule], published: Sequence[Published], components: Iterable[Component]
) -> Iterator[str]:
    """Lines for rules and published numbers on a metric that no task of the study has."""
    named = [(place, metric) for place, _, metric in _places(expect, published) if metric]
    if not named:
        return
    known = {ALIGNMENT}
    for component in components:
        try:
            known |= tasks.build(component).higher_is_better.keys()
        except UserError:
            # Planning reports what is wrong with the task itself.
            return
    for place, metric in named:
        if metric not in known:
            yield f"{place}.metric: {UnknownNameError('metric', metric, known)}"


def check_terms(
    expect: Sequence[Rule], published: Sequence[Published], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Raise SpecError where a term of a rule matches no condition of the plan, or several.

    `rows` are rows of the plan's table. Published numbers may match no planned condition.
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
