"""Content ids: a hash of everything that changes the result of a replicate.

No paths, resources, study names or logging enter it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from trainers import tasks
from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition
from trainers.conditions.training import TrainSettings
from trainers.distances import DISTANCES
from trainers.mappings import MAPPINGS
from trainers.registry import Component, Entry, Registry
from trainers.tasks import TASKS

#: Raised whenever the training loop gives other results for the same condition and seed.
RESULT_VERSION = 2

_ID_LENGTH = 16
_SEED_MARK = "@seed@"


def replicate_ids(condition: Condition, seeds: Iterable[int]) -> list[str]:
    """Content ids, one per seed: 16 hex digits of the SHA-256 of the canonical JSON.

    Pretrained weights that are only evaluated have one id for all seeds.
    """
    if condition.weights is not None:
        return [_hash(identity(condition))] * len(list(seeds))
    text = json.dumps(
        identity(condition) | {"seed": _SEED_MARK}, sort_keys=True, separators=(",", ":")
    )
    before, after = text.split(f'"{_SEED_MARK}"')
    return [
        hashlib.sha256(f"{before}{seed}{after}".encode()).hexdigest()[:_ID_LENGTH] for seed in seeds
    ]


def replicate_id(condition: Condition, seed: int) -> str:
    """The content id of one replicate."""
    return replicate_ids(condition, [seed])[0]


def identity(condition: Condition) -> dict[str, Any]:
    """Everything that changes a replicate's result except its seed, as plain JSON values.

    Baselines, guided runs and controls have the role `target`: they differ in the guidance.
    """
    content: dict[str, Any] = {
        "role": "guide" if condition.role == "guide" else "target",
        "task": _task_identity(condition.task),
        "target": _versioned(ARCHITECTURES, condition.target),
        "train": _train_identity(condition.train),
        "result_version": RESULT_VERSION,
    }
    if condition.weights is not None:
        content["weights"] = condition.weights.content
    guidance = condition.guidance
    if guidance is not None:
        guide = asdict(guidance.guide)
        # A later field: left out if empty, so that old ids stay valid.
        del guide["weights"]
        if guidance.guide.weights is not None:
            guide["weights"] = guidance.guide.weights.content
        if guidance.guide.train is not None:
            guide["train"] = _train_identity(guidance.guide.train)
        guide["architecture"] = _versioned(ARCHITECTURES, guidance.guide.architecture)
        if condition.train.precision != "float32" and guidance.runs_guide:
            # Earlier versions ran guides in float32 whatever the target's precision.
            guide["precision"] = condition.train.precision
        content["guidance"] = {
            "guide": guide,
            "control": guidance.control,
            "distance": _versioned(DISTANCES, guidance.distance),
            "rows": guidance.rows,
            "mapping": _mapping_identity(guidance.mapping),
            "reduction": guidance.reduction,
            "schedule": guidance.schedule.identity(),
        }
        if guidance.guide_inputs != "same":
            content["guidance"]["guide_inputs"] = guidance.guide_inputs
        cache = None if guidance.cache is None else guidance.cache.identity()
        if cache is not None:
            content["guidance"]["cache"] = cache
    return content


def _train_identity(train: TrainSettings) -> dict[str, Any]:
    content = asdict(train)
    # Later fields: left out if off, so that old ids stay valid.
    for name in ("compile", "lr_step"):
        if not content[name]:
            del content[name]
    return content


def _task_identity(task: Component) -> dict[str, Any]:
    content, digest = _versioned(TASKS, task), tasks.build(task).data
    return content if digest is None else content | {"data": digest}


def guide_id(condition: Condition, seed: int) -> str:
    """The content id of a guided condition's guide; a trained guide has its own replicate's id.

    A pretrained guide has one id for all seeds.
    """
    if condition.guide_condition is not None:
        return replicate_id(condition.guide_condition, seed)
    assert condition.guidance is not None
    guide = condition.guidance.guide
    content = {
        "role": "untrained guide",
        "task": _task_identity(condition.task),
        "architecture": _versioned(ARCHITECTURES, guide.architecture),
        "batch_norm": guide.batch_norm,
        "seed": seed,
        "result_version": RESULT_VERSION,
    }
    if guide.weights is not None:
        content |= {"role": "pretrained guide", "weights": guide.weights.content, "seed": None}
    return _hash(content)


def _hash(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_LENGTH]


def _mapping_identity(mapping: Component) -> Any:
    # A bare name, as when this was the only mapping, so that old ids stay valid.
    if mapping == MAPPINGS.component("evenly_spaced"):
        return mapping.name
    return _versioned(MAPPINGS, mapping)


def _versioned(registry: Registry[Any], component: Component) -> dict[str, Any]:
    entry: Entry[Any] = registry[component.name]
    content = {"name": component.name, "version": entry.version, "options": component.kwargs}
    if entry.origin is not None:
        content["imports"] = entry.origin.digest
    return content


def origins(condition: Condition) -> dict[str, str]:
    """Digests of the user's modules that define the condition's entries, by module."""
    parts: list[tuple[Registry[Any], Component]] = [
        (TASKS, condition.task),
        (ARCHITECTURES, condition.target),
    ]
    guidance = condition.guidance
    if guidance is not None:
        parts += [
            (ARCHITECTURES, guidance.guide.architecture),
            (DISTANCES, guidance.distance),
            (MAPPINGS, guidance.mapping),
        ]
    found = [registry[component.name].origin for registry, component in parts]
    return {origin.name: origin.digest for origin in found if origin is not None}
