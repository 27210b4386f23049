"""Conditions as plain JSON values: for `condition.json`, stored plans, and workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

from trainers.conditions.condition import Condition
from trainers.mappings import MAPPINGS
from trainers.options import frozen
from trainers.registry import Component


def to_json(condition: Condition) -> dict[str, Any]:
    """The condition as plain JSON values, for `condition.json` and for workers.

    Local paths of weights are left out: other machines read the weights from the store.
    """
    content = asdict(condition)
    for part in (content, (content["guidance"] or {}).get("guide", {})):
        if part.get("weights") is not None:
            del part["weights"]["path"]
    return content


def from_json(content: Mapping[str, Any]) -> Condition:
    """The condition that `to_json` wrote; other keys of `content` are ignored.

    Missing fields, which were added later, have their defaults.
    """
    fields = {name: content[name] for name in _kinds(Condition) if name in content}
    condition: Condition = _decoded(Condition, fields)
    return condition


def _decoded(kind: Any, content: Any) -> Any:
    """A value of type `kind`, a dataclass or a union with one, from JSON values."""
    if kind is Component:
        return _component(content)
    if isinstance(kind, type) and is_dataclass(kind):
        kinds = _kinds(kind)
        return kind(**{name: _decoded(kinds.get(name), value) for name, value in content.items()})
    inner = next((part for part in get_args(kind) if is_dataclass(part)), None)
    return content if inner is None or content is None else _decoded(inner, content)


@cache
def _kinds(config: Any) -> dict[str, Any]:
    return get_type_hints(config)


def _component(content: Any) -> Component:
    if isinstance(content, str):
        # Conditions written when there was only one mapping have its bare name.
        return MAPPINGS.component(content)
    return Component(content["name"], tuple((key, frozen(v)) for key, v in content["options"]))
