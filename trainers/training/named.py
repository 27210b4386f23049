"""Conditions from plain names and mappings, as in a spec but with one value for each key."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any, get_args

from trainers import controls
from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guidance, Guide, State, Term
from trainers.conditions.registries import CONTROLS
from trainers.conditions.schedule import AlignFirst, Schedule
from trainers.conditions.training import TrainSettings, updated
from trainers.distances import DISTANCES
from trainers.errors import UserError
from trainers.mappings import MAPPINGS
from trainers.registry import Component, Registry, UnknownNameError
from trainers.tasks import TASKS

#: Keys that say what guides, and how.
_GUIDED = (
    "guide", "state", "control", "distance", "mapping", "reduction", "schedule", "guide_inputs",
    "guide_train",
)  # fmt: skip
_KEYS = ("role", "task", "target", "train", "data", *_GUIDED)
_STATES = get_args(State)


def seed(given: Any) -> int:
    """The seed of a replicate; raises UserError unless it is one that a spec may have."""
    number = -1
    with suppress(TypeError):
        number = -1 if isinstance(given, bool) else operator.index(given)
    if not 0 <= number < 2**63:
        raise UserError(f"seed is {given!r}; allowed: integers from 0 to 2^63 - 1")
    return number


def condition(content: Mapping[str, Any]) -> Condition:
    """The condition that a mapping describes.

    Keys are those of a spec, for one condition: `task`, `target` and `train` are needed, `data` is
    `fixed` by default. With `guide` the target is guided; optional keys are then `state`
    (`trained`, the default, or `untrained`), `control` (`none`), `distance` (`linear_cka`; with
    `rows`), `mapping` (`evenly_spaced`), `reduction`, `schedule`, `guide_inputs`, and
    `guide_train`, the settings that differ from `train` for a trained guide; it plays no part for
    an untrained one. An entry is a name, or a mapping with `name` and options. That of an untrained
    guide may have `batch_norm`. With `role: guide` instead of these, the target is trained as a
    guide alone.

    Raises UserError with the key, the value and the allowed values.
    """
    given = dict(content)
    _check_keys("key", given, _KEYS)
    role = given.pop("role", None)
    if role not in (None, "guide"):
        raise UserError(f"role is {role!r}; allowed: guide, or no role")
    for key in ("task", "target", "train"):
        if key not in given:
            raise UserError(f"{key} is needed")
    alone = Condition(
        is_guide=role is not None,
        task=_component(TASKS, given["task"]),
        target=_component(ARCHITECTURES, given["target"]),
        train=_train(given["train"]),
        data=given.get("data", "fixed"),
    )
    extra = [key for key in _GUIDED if key in given]
    if role and extra:
        raise UserError(f"role: guide is a network alone; {extra[0]} has no meaning for it")
    if "guide" in given:
        return _guided(alone, given)
    if extra:
        raise UserError(f"{extra[0]} needs a guide")
    return alone


def _guided(baseline: Condition, given: Mapping[str, Any]) -> Condition:
    control = _component(CONTROLS, given.get("control", "none"))
    state = given.get("state", "trained")
    if state not in _STATES:
        raise UserError(f"state is {state!r}; allowed: {', '.join(_STATES)}")
    distance, rows = _split(given.get("distance", DISTANCES.default), "rows", "examples")
    term = Term(
        guide=_guide(given, state),
        distance=_component(DISTANCES, distance),
        rows=rows,
        mapping=_component(MAPPINGS, given.get("mapping", MAPPINGS.default)),
        **({"reduction": given["reduction"]} if "reduction" in given else {}),
    )
    guidance = Guidance(
        terms=(controls.canonical(term, baseline.task),),
        schedule=_schedule(given.get("schedule", {})),
        **({"guide_inputs": given["guide_inputs"]} if "guide_inputs" in given else {}),
    )
    refused = controls.refusal(control, term.distance, state, baseline.task)
    if refused is not None:
        raise UserError(f"control {CONTROLS.label(control)!r} {refused}")
    return controls.guided(control, baseline, guidance)


def _guide(given: Mapping[str, Any], state: str) -> Guide:
    entry, batch_norm = _split(given["guide"], "batch_norm", None)
    for key in ("weights", "train"):
        if isinstance(entry, Mapping) and key in entry:
            raise UserError(f"guide.{key} is for specs; here guide_train says how it is trained")
    architecture = _component(ARCHITECTURES, entry)
    if state == "untrained":
        return Guide(
            architecture=architecture, state="untrained", batch_norm=batch_norm or "calibrated"
        )
    if batch_norm is not None:
        raise UserError(
            f"guide: batch_norm is {batch_norm!r}, which is for an untrained guide; leave it out, "
            "or give state: untrained"
        )
    outer, inner = _mapping("train", given["train"]), given.get("guide_train", {})
    train = _train(updated(outer, _mapping("guide_train", inner)))
    return Guide(architecture=architecture, state="trained", train=train)


def _component(registry: Registry[Any], entry: Any) -> Component:
    name, options = entry, {}
    if isinstance(entry, Mapping):
        options = dict(entry)
        name = options.pop("name", None)
    if not isinstance(name, str):
        raise UserError(
            f"{registry.kind}: give a name, or a mapping with name and options (got {entry!r:.80})"
        )
    for option in options:
        if not isinstance(option, str):
            known = registry[name].parameters
            raise UnknownNameError(f"option of {registry.kind} {name!r}:", option, known)
    return registry.component(name, **options)


def _split(entry: Any, part: str, default: Any) -> tuple[Any, Any]:
    """An entry without the key `part`, and the value of that key."""
    if not isinstance(entry, Mapping):
        return entry, default
    rest = dict(entry)
    return rest, rest.pop(part, default)


def _train(content: Any) -> TrainSettings:
    content = _mapping("train", content)
    _check_keys("key of train:", content, (field.name for field in fields(TrainSettings)))
    return TrainSettings(**content)


def _schedule(content: Any) -> Schedule:
    content = _mapping("schedule", content)
    _check_keys("key of schedule:", content, (field.name for field in fields(Schedule)))
    first = content.get("align_first")
    return replace(
        Schedule(**{key: value for key, value in content.items() if key != "align_first"}),
        align_first=None if first is None else _align_first(first),
    )


def _align_first(content: Any) -> AlignFirst:
    content = _mapping("schedule.align_first", content)
    _check_keys("key of align_first:", content, (field.name for field in fields(AlignFirst)))
    if "steps" not in content:
        raise UserError("schedule.align_first: steps is needed")
    return AlignFirst(**content)


def _mapping(key: str, content: Any) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        raise UserError(f"{key}: give a mapping of keys to values (got {content!r:.80})")
    return dict(content)


def _check_keys(what: str, content: Mapping[str, Any], known: Iterable[str]) -> None:
    known = list(known)
    for key in content:
        if key not in known:
            raise UnknownNameError(what, key, known)
