"""Points of a search's space, set in conditions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from study.spec import dotted
from study.spec.entries import (
    DistanceEntry,
    MappingEntry,
    ScheduleEntry,
    TargetEntry,
    Train,
    train_settings,
)
from study.spec.search import Dimension, Scalar
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guidance, Term
from trainers.registry import Component

#: Values by dotted key.
Point = Mapping[str, Scalar]


def encoded(point: Point) -> str:
    """A point as JSON, keys in the order of the space."""
    return json.dumps(dict(point))


def first(space: Mapping[str, Dimension]) -> Point:
    """The point of first values and lower ends."""
    return {key: dimension.corners[0] for key, dimension in space.items()}


def applied(condition: Condition, point: Point) -> Condition:
    """A condition with the values of a point; its guide keeps the settings of the spec.

    Keys of guidance stand in points of guided conditions alone. Raises ValueError where values
    exclude each other.
    """
    parts: dict[str, Point] = {}
    for key, value in point.items():
        part, _, path = key.partition(".")
        parts[part] = {**parts.get(part, {}), path: value}
    if "train" in parts:
        given = Train.model_validate(_fields(condition.train))
        (train,) = train_settings(given, Train.model_validate(_with({}, parts["train"])))
        condition = replace(condition, train=train)
    if "targets" in parts:
        entry = TargetEntry.model_validate(_with(_options(condition.target), parts["targets"]))
        condition = replace(condition, target=entry.components()[0])
    if condition.guidance is None:
        return condition
    return condition.with_guidance(_guided(condition.guidance, parts))


def _guided(guidance: Guidance, parts: Mapping[str, Point]) -> Guidance:
    if "schedule" in parts:
        raw = _with(_fields(guidance.schedule), parts["schedule"])
        (schedule,) = ScheduleEntry.model_validate(raw).points
        guidance = replace(guidance, schedule=schedule)
    terms = tuple(_term(term, parts) for term in guidance.terms)
    if "guides" in parts and len(terms) == 2:
        total, share = sum(term.weight for term in terms), float(str(parts["guides"]["share"]))
        weights = (total * share, total * (1 - share))
        terms = tuple(replace(t, weight=w) for t, w in zip(terms, weights, strict=True))
    return replace(guidance, terms=terms)


def _term(term: Term, parts: Mapping[str, Point]) -> Term:
    if "distances" in parts:
        raw = _options(term.distance) | {"rows": term.rows}
        entry = DistanceEntry.model_validate(_with(raw, parts["distances"]))
        term = replace(term, distance=entry.components()[0], rows=entry.rows[0])
    if "mapping" in parts:
        raw = _with(_options(term.mapping), parts["mapping"])
        term = replace(term, mapping=MappingEntry.model_validate(raw).components()[0])
    return term


def _fields(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not None."""
    return {name: value for name, value in asdict(settings).items() if value is not None}


def _options(component: Component) -> dict[str, Any]:
    # A list would be an axis: a tuple, which is one value, becomes a list of one.
    options = {k: [v] if isinstance(v, tuple) else v for k, v in component.options}
    return {"name": component.name} | options


def _with(raw: dict[str, Any], point: Point) -> dict[str, Any]:
    for path, value in point.items():
        raw = dotted.with_value(raw, path.split("."), value)
    return raw
