"""The keys `expect`, `published`, `confirm` and `margin` of a spec, checked before the start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field

from analysis.expectations import rules
from analysis.expectations.consistency_metric import is_consistency
from analysis.expectations.rules import ALIGNMENT, Confirm, Published, Rule, Term
from analysis.expectations.terms import nothing, select
from study.errors import SpecError
from study.spec.settings import Model, PositiveFloat
from trainers import tasks
from trainers.errors import UserError
from trainers.registry import Component, UnknownNameError


def _list(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError("give a list")
    return value


def _margins(value: Any) -> Any:
    if not isinstance(value, Mapping) or not all(isinstance(metric, str) for metric in value):
        raise ValueError("give a mapping of test metrics to the largest difference that is none")
    return value


_Rule = Annotated[Rule, BeforeValidator(rules.read_rule)]
_Published = Annotated[Published, BeforeValidator(rules.read_published)]
_Confirm = Annotated[Confirm, BeforeValidator(rules.read_confirm)]
_Expectations = Annotated[tuple[_Rule, ...], BeforeValidator(_list)]
_PublishedNumbers = Annotated[tuple[_Published, ...], BeforeValidator(_list)]
_Confirmations = Annotated[tuple[_Confirm, ...], BeforeValidator(_list)]
_Margins = Annotated[dict[str, PositiveFloat], BeforeValidator(_margins)]


class Claims(Model):
    """The keys that say what should come out, and what counts as none; in no replicate's id."""

    expect: _Expectations = ()
    published: _PublishedNumbers = ()
    #: Guided rows that are named before the run.
    confirm: _Confirmations = ()
    #: The largest difference that counts as none, by test metric.
    margin: _Margins = Field(default={})


def unknown_metrics(claims: Claims, components: Iterable[Component]) -> Iterator[str]:
    """Lines for rules, published numbers and margins on a metric that no task of the study has."""
    named = [
        (place.metric, f"{place.key}.metric")
        for place in _places(claims)
        # Reading a rule checks metrics that are columns of the table `consistency`.
        if place.metric and not is_consistency(place.metric)
    ]
    of_answers = [place for place in _places(claims) if is_consistency(place.metric)]
    if not named and not claims.margin and not of_answers:
        return
    known: set[str] = set()
    classes = False
    for component in components:
        try:
            task = tasks.build(component)
        except UserError:
            # Planning reports what is wrong with the task itself.
            return
        known |= task.higher_is_better.keys()
        classes |= task.output.num_classes is not None
    for place in of_answers:
        if not classes:
            yield (
                f"{place.key}.metric: {place.metric} is of right and wrong answers, and no task of "
                "the study has classes"
            )
    for metric, where in named:
        if metric not in {*known, ALIGNMENT}:
            yield f"{where}: {UnknownNameError('metric', metric, {*known, ALIGNMENT})}"
    for metric in claims.margin:
        if metric not in known:
            yield f"margin.{metric}: {UnknownNameError('metric', metric, known)}"


def check_terms(claims: Claims, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise SpecError where a term of a rule matches no condition of the plan, or several.

    `rows` are rows of the plan's table. Published numbers may match no planned condition.
    """
    mistakes = []
    for place in _places(claims):
        for term in place.terms:
            try:
                if select(term, rows) is None and not place.key.startswith("published"):
                    raise nothing(term, rows)
            except ValueError as error:
                mistakes.append(f"{place.key}: {error}")
    if mistakes:
        raise SpecError("\n".join(mistakes))


class _Place(NamedTuple):
    key: str
    terms: tuple[Term, ...]
    metric: str | None


def _places(claims: Claims) -> Iterator[_Place]:
    for index, rule in enumerate(claims.expect):
        yield _Place(f"expect[{index}]", rule.terms, rule.metric)
    for index, number in enumerate(claims.published):
        yield _Place(f"published[{index}]", (number.of,), number.metric)
    for index, confirm in enumerate(claims.confirm):
        yield _Place(f"confirm[{index}]", (confirm.row,), None)
