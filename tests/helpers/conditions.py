"""Conditions of one guide, made and changed as if guidance were its only term."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guidance, Term
from trainers.conditions.registries import CONTROLS

_SHARED = {field.name for field in fields(Guidance)} - {"terms"}


def guidance_of(**parts: Any) -> Guidance:
    """Guidance of one term, from fields of `Term` and `Guidance`; a control may be a name."""
    if isinstance(parts.get("control"), str):
        parts["control"] = CONTROLS.component(parts["control"])
    shared = {name: parts.pop(name) for name in _SHARED & parts.keys()}
    return Guidance(terms=(Term(**parts),), **shared)


def term_of(condition: Condition) -> Term:
    """The only term of a guided condition."""
    assert condition.guidance is not None
    return condition.guidance.term


def changed(condition: Condition, **changes: Any) -> Condition:
    """The condition with other fields of its guidance or of its only term."""
    assert condition.guidance is not None
    if isinstance(changes.get("control"), str):
        changes["control"] = CONTROLS.component(changes["control"])
    shared = {name: changes.pop(name) for name in _SHARED & changes.keys()}
    guidance = replace(condition.guidance, **shared)
    term = replace(guidance.term, **changes)
    return replace(condition, treatment=replace(guidance, terms=(term,)))
