"""Conditions as plain JSON values: for `condition.json`, stored plans, and workers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from trainers.conditions.cache_form import Cache
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guidance, Guide
from trainers.conditions.schedule import AlignFirst, Schedule
from trainers.conditions.training import TrainSettings
from trainers.conditions.weights import Weights
from trainers.mappings import MAPPINGS
from trainers.registry import Component, frozen


def to_json(condition: Condition) -> dict[str, Any]:
    """The condition as plain JSON values, for `condition.json` and for workers.

    Where this machine has a guide's weights is left out: others have them from the store.
    """
    content = asdict(condition)
    for part in (content, (content["guidance"] or {}).get("guide", {})):
        if part.get("weights") is not None:
            del part["weights"]["path"]
    return content


def from_json(content: dict[str, Any]) -> Condition:
    """The condition that `to_json` wrote."""
    guidance = content["guidance"]
    return Condition(
        role=content["role"],
        task=_component(content["task"]),
        target=_component(content["target"]),
        train=TrainSettings(**content["train"]),
        guidance=None if guidance is None else _guidance(guidance),
        weights=_weights(content),
    )


def _guidance(content: dict[str, Any]) -> Guidance:
    guide = content["guide"]
    train = guide["train"]
    cache = content.get("cache")
    return Guidance(
        **content
        | {
            "guide": Guide(
                architecture=_component(guide["architecture"]),
                state=guide["state"],
                batch_norm=guide["batch_norm"],
                train=None if train is None else TrainSettings(**train),
                weights=_weights(guide),
            ),
            "distance": _component(content["distance"]),
            "mapping": _mapping(content["mapping"]),
            "schedule": _schedule(content["schedule"]),
            "cache": None if cache is None else Cache(**cache),
        }
    )


def _weights(content: dict[str, Any]) -> Weights | None:
    weights = content.get("weights")
    return None if weights is None else Weights(**weights)


def _mapping(content: Any) -> Component:
    # Conditions written when this was the only mapping have its bare name.
    return MAPPINGS.component(content) if isinstance(content, str) else _component(content)


def _schedule(content: dict[str, Any]) -> Schedule:
    first = content.get("align_first")
    return Schedule(**content | {"align_first": None if first is None else AlignFirst(**first)})


def _component(content: dict[str, Any]) -> Component:
    return Component(content["name"], tuple((key, frozen(v)) for key, v in content["options"]))
