"""Content ids: a hash of everything that changes the result of a replicate.

No paths, resources, study names or logging enter it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from trainers import tasks
from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guidance, Term
from trainers.conditions.registries import CONTROLS, RIVALS
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


def condition_id(condition: Condition) -> str:
    """The content id of a condition, that of all its replicates but their seed."""
    return _hash(identity(condition))


def identity(condition: Condition) -> dict[str, Any]:
    """Everything that changes a replicate's result except its seed, as plain JSON values.

    Baselines, rivals, guided runs and controls have the role `target`: they differ in the
    treatment.
    """
    content: dict[str, Any] = {
        "role": "guide" if condition.is_guide else "target",
        "task": _task_identity(condition.task),
        "target": _versioned(ARCHITECTURES, condition.target),
        "train": _train_identity(condition.train),
        "result_version": RESULT_VERSION,
    }
    if condition.data != "fixed":
        content["data"] = condition.data
    if condition.weights is not None:
        content["weights"] = condition.weights.content
    rival = condition.rival
    if rival is not None:
        content["rival"] = _versioned(RIVALS, rival.method)
        # Left out where a rival has none, as when none had any, so that old ids stay valid.
        if rival.control != "none":
            content["rival_control"] = rival.control
        if rival.weights is not None:
            content["rival_weights"] = rival.weights.content
    guidance = condition.guidance
    if guidance is not None:
        content["guidance"] = _guidance_identity(guidance, condition.train.precision)
    return content


def _guidance_identity(guidance: Guidance, precision: str) -> dict[str, Any]:
    terms = [_term_identity(term, precision) for term in guidance.terms]
    # A single term stands flat, as when there was only one, so that old ids stay valid.
    single = len(terms) == 1 and guidance.terms[0].weight == 1
    content: dict[str, Any] = terms[0] if single else {"terms": terms}
    if not single:
        for term, each in zip(guidance.terms, terms, strict=True):
            each["weight"] = term.weight
    content["schedule"] = guidance.schedule.identity()
    if guidance.guide_inputs != "same":
        content["guide_inputs"] = guidance.guide_inputs
    return content


def _term_identity(term: Term, precision: str) -> dict[str, Any]:
    guide = _fields(term.guide)
    # A later field: left out if empty, so that old ids stay valid.
    del guide["weights"]
    if term.guide.weights is not None:
        guide["weights"] = term.guide.weights.content
    if term.guide.train is not None:
        guide["train"] = _train_identity(term.guide.train)
    guide["architecture"] = _versioned(ARCHITECTURES, term.guide.architecture)
    if precision != "float32" and term.runs_guide:
        # Earlier versions ran guides in float32 whatever the target's precision.
        guide["precision"] = precision
    content = {
        "guide": guide,
        "control": _short_identity(CONTROLS, term.control),
        "distance": _versioned(DISTANCES, term.distance),
        "rows": term.rows,
        "mapping": _mapping_identity(term.mapping),
        "reduction": term.reduction,
    }
    cache = None if term.cache is None else term.cache.identity()
    if cache is not None:
        content["cache"] = cache
    if term.shown_at is not None:
        content["shown_at"] = [list(each) for each in term.shown_at]
    return content


def _train_identity(train: TrainSettings) -> dict[str, Any]:
    content = _fields(train)
    # Later fields: left out if off, so that old ids stay valid.
    for name in ("compile", "lr_step"):
        if not content[name]:
            del content[name]
    return content


def _fields(config: Any) -> dict[str, Any]:
    """The fields of a dataclass by name; not copied, as `asdict` does."""
    return {item.name: getattr(config, item.name) for item in fields(config)}


def _task_identity(task: Component) -> dict[str, Any]:
    content, digest = _versioned(TASKS, task), tasks.build(task).data
    return content if digest is None else content | {"data": digest}


def guide_id(condition: Condition, term: Term, seed: int) -> str:
    """The content id of the guide of a condition's term; a trained one has its replicate's id.

    A pretrained guide has one id for all seeds.
    """
    trained = condition.guide_condition(term)
    if trained is not None:
        return replicate_id(trained, seed)
    guide = term.guide
    content = {
        "role": "untrained guide",
        "task": _task_identity(condition.task),
        "architecture": _versioned(ARCHITECTURES, guide.architecture),
        "batch_norm": guide.batch_norm,
        "seed": seed,
        "result_version": RESULT_VERSION,
    }
    if condition.data != "fixed":
        content["data"] = condition.data
    if guide.weights is not None:
        content |= {"role": "pretrained guide", "weights": guide.weights.content, "seed": None}
    return _hash(content)


def _hash(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_LENGTH]


def _mapping_identity(mapping: Component) -> Any:
    if mapping.name != "evenly_spaced":
        return _versioned(MAPPINGS, mapping)
    # A bare name, as when this was the only mapping, so that old ids stay valid.
    return _short_identity(MAPPINGS, mapping)


def _short_identity(registry: Registry[Any], component: Component) -> Any:
    """The identity of an entry; a first version without options is its bare name."""
    content = _versioned(registry, component)
    plain = {"name": component.name, "version": 1, "options": {}}
    return component.name if content == plain else content


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
    if condition.rival is not None:
        parts.append((RIVALS, condition.rival.method))
    for term in condition.terms:
        parts += [
            (ARCHITECTURES, term.guide.architecture),
            (CONTROLS, term.control),
            (DISTANCES, term.distance),
            (MAPPINGS, term.mapping),
        ]
    found = [registry[component.name].origin for registry, component in parts]
    return {origin.name: origin.digest for origin in found if origin is not None}
