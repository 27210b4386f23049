"""The keys `expect`, `published`, `confirm` and `margin` of a spec, checked before the start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field

from analysis.expectations import rules
from analysis.expectations.consistency_metric import is_consistency
from analysis.expectations.rules import ALIGNMENT, Confirm, Published, Rule, Term
from analysis.expectations.terms import check_guides, nothing, select
from analysis.quantities import POINTS, unit_of
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


def wrong_metrics(claims: Claims, components: Iterable[Component]) -> Iterator[str]:
    """Lines for rules, published numbers and margins on metrics that the study's tasks lack."""
    places = [place for place in _places(claims) if place.metric or place.points]
    if not places and not claims.margin:
        return
    try:
        built = [tasks.build(component) for component in components]
    except UserError:
        # Planning reports what is wrong with the task itself.
        return
    if not built:
        return
    known = {metric for task in built for metric in task.higher_is_better}
    for place in places:
        # Reading a rule checks metrics that are columns of the table `consistency`.
        if is_consistency(place.metric):
            if not any(task.output.num_classes is not None for task in built):
                yield (
                    f"{place.key}.metric: {place.metric} is of right and wrong answers, and no "
                    "task of the study has classes"
                )
        elif place.metric and place.metric not in {*known, ALIGNMENT}:
            error = UnknownNameError("metric", place.metric, {*known, ALIGNMENT})
            yield f"{place.key}.metric: {error}"
        elif place.points and place.metric != ALIGNMENT:
            metrics = [place.metric] if place.metric else [task.primary_metric for task in built]
            if POINTS not in map(unit_of, metrics):
                yield (
                    f"{place.key}: points are hundredths of an accuracy, and the metric is "
                    f"{' or '.join(dict.fromkeys(metrics))}; give a number without them"
                )
    for metric in claims.margin:
        if metric not in known:
            yield f"margin.{metric}: {UnknownNameError('metric', metric, known)}"


def check_terms(claims: Claims, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise SpecError where a term of a rule matches no condition of the plan, or several.

    So it does where a rule asks how alike a mixture and its guide are. `rows` are rows of the
    plan's table. Published numbers may match no planned condition.
    """
    mistakes = []
    for place in _places(claims):
        chosen = []
        for term in place.terms:
            try:
                found = select(term, rows)
                if found is not None:
                    chosen.append((term, found))
                elif not place.key.startswith("published"):
                    raise nothing(term, rows)
            except ValueError as error:
                mistakes.append(f"{place.key}: {error}")
        if len(chosen) == len(place.terms):
            try:
                check_guides(place.metric, chosen)
            except ValueError as error:
                mistakes.append(f"{place.key}: {error}")
    if mistakes:
        raise SpecError("\n".join(mistakes))


class _Place(NamedTuple):
    key: str
    terms: tuple[Term, ...]
    metric: str | None
    points: bool = False


def _places(claims: Claims) -> Iterator[_Place]:
    for index, rule in enumerate(claims.expect):
        yield _Place(f"expect[{index}]", rule.terms, rule.metric, rule.points)
    for index, number in enumerate(claims.published):
        yield _Place(f"published[{index}]", (number.of,), number.metric)
    for index, confirm in enumerate(claims.confirm):
        yield _Place(f"confirm[{index}]", (confirm.row,), None)
