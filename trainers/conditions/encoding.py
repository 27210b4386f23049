"""Conditions as plain JSON values: for `condition.json`, stored plans, and workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

from trainers.conditions.condition import Condition
from trainers.mappings import MAPPINGS
from trainers.options import frozen
from trainers.registry import Component


def to_json(condition: Condition) -> dict[str, Any]:
    """The condition as plain JSON values, for `condition.json` and for workers.

    Its `role` is for readers: the rest decides it. Local paths of weights are left out: other
    machines read the weights from the store.
    """
    content = {"role": condition.role} | asdict(condition)
    treatment = content["treatment"] or {}
    guidance = treatment if "terms" in treatment else treatment.get("guidance") or {}
    guides = [term["guide"] for term in guidance.get("terms", ())]
    for part in (content, treatment, *guides):
        if part.get("weights") is not None:
            del part["weights"]["path"]
    return content


def from_json(content: Mapping[str, Any]) -> Condition:
    """The condition that `to_json` wrote; other keys of `content` are ignored.

    Missing fields, which were added later, have their defaults.
    """
    if "treatment" not in content:
        content = _with_treatment(content)
    fields = {name: content[name] for name in _kinds(Condition) if name in content}
    condition: Condition = _decoded(Condition, fields)
    return condition


def _with_treatment(content: Mapping[str, Any]) -> dict[str, Any]:
    """A condition as written when guidance was by one guide: its fields were those of a term."""
    treatment, guidance = None, content.get("guidance")
    if guidance is not None:
        term = dict(guidance)
        term["control"] = {"name": term["control"], "options": []}
        shared = {key: term.pop(key) for key in ("schedule", "guide_inputs") if key in term}
        treatment = {"terms": [term]} | shared
    return {**content, "is_guide": content["role"] == "guide", "treatment": treatment}


def _decoded(kind: Any, content: Any) -> Any:
    """A value of type `kind`, a dataclass, a tuple of them or a union with one, from JSON."""
    if content is None:
        return None
    if kind is Component:
        return _component(content)
    if isinstance(kind, type) and is_dataclass(kind):
        kinds = _kinds(kind)
        return kind(**{name: _decoded(kinds.get(name), value) for name, value in content.items()})
    if get_origin(kind) is tuple:
        return tuple(_decoded(get_args(kind)[0], item) for item in content)
    parts = [part for part in get_args(kind) if isinstance(part, type) and is_dataclass(part)]
    # Of several parts, the one that has these fields.
    chosen = [p for p in parts if len(parts) == 1 or content.keys() <= _kinds(p).keys()]
    return _decoded(chosen[0], content) if chosen else frozen(content)


@cache
def _kinds(config: Any) -> dict[str, Any]:
    return get_type_hints(config)


def _component(content: Any) -> Component:
    if isinstance(content, str):
        # Conditions written when there was only one mapping have its bare name.
        return MAPPINGS.component(content)
    return Component(content["name"], tuple((key, frozen(v)) for key, v in content["options"]))
