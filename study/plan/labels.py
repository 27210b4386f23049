"""Labels of a study's conditions in its tables: canonical, short and unique."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any

from analysis.contract import CONDITION_COLUMNS, GUIDANCE, TUNED
from study.spec.search import SHARE
from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition, Rival
from trainers.conditions.guidance import NO_CONTROL, Guidance, Term
from trainers.conditions.registries import CONTROLS, RIVALS
from trainers.conditions.schedule import Schedule
from trainers.conditions.training import TrainSettings
from trainers.conditions.weights import Weights
from trainers.distances import DISTANCES
from trainers.mappings import MAPPINGS
from trainers.registry import Component, Registry, derived, format_number
from trainers.tasks import TASKS

if TYPE_CHECKING:
    from study.plan.replicates import PlanRow

#: Dotted keys of a search.
Keys = Collection[str]


def label(study: str, uses: list[PlanRow]) -> None:
    """Set the labels of every condition; training settings appear where two differ only in them.

    A baseline that is there for its equal compute has its steps in its label: it changes no other
    one's, and none takes it for the plain baseline.
    """
    differing = _differing_settings(uses)
    named = _namesakes(uses)
    for use in uses:
        condition, searched = use.named, use.searched
        labels: dict[str, Any] = dict.fromkeys(CONDITION_COLUMNS)
        labels["study"] = study
        data = {} if condition.data == "fixed" else {"data": condition.data}
        labels["task"] = _short(TASKS, condition.task, *data.items())
        labels["target"] = _network_label(
            condition.target,
            use.condition.train if use.is_matched else condition.train,
            _shown(use, differing),
            weights=_weights_label(condition.weights, named),
            searched=[k for k in searched if k != "train.steps"] if use.is_matched else searched,
        )
        if condition.rival is not None:
            labels |= _rival_labels(use, condition.rival, differing, named)
        elif condition.guidance is not None:
            assert use.place is not None
            labels["treatment"] = GUIDANCE
            labels |= _guidance_labels(condition.guidance, use.place, searched)
            labels["guide"] = _guides_label(use, use.place, differing, named)
        use.labels = labels


def _guides_label(
    use: PlanRow, place: Guidance, differing: Mapping[_Key, list[str]], namesakes: set[str]
) -> str:
    """The label of the guides of a row, in the place of its guidance."""
    guides = [
        _network_label(
            guide.target,
            guide.train,
            differing[_key(guide)],
            weights=_weights_label(guide.weights, namesakes),
            batch_norm=term.guide.batch_norm,
            inputs=place.guide_inputs,
            control=None if term.control == NO_CONTROL else _short(CONTROLS, term.control),
        )
        for term, guide in zip(
            place.terms, (alone.condition for alone in use.guides_alone), strict=True
        )
    ]
    return _mixture(guides, place, use.searched)


def _rival_labels(
    use: PlanRow, rival: Rival, differing: Mapping[_Key, list[str]], namesakes: set[str]
) -> dict[str, Any]:
    """Labels of a rival: its treatment, which names guides and weights, and its control."""
    extra: dict[str, Any] = {}
    if rival.weights is not None:
        extra["weights"] = _weights_label(rival.weights, namesakes)
    control = rival.control
    if rival.guidance is not None:
        assert use.place is not None
        extra["guide"] = _guides_label(use, use.place, differing, namesakes)
        labels = _guidance_labels(rival.guidance, use.place, ())
        extra["state"] = _joined(term.guide.state for term in use.place.terms)
        defaults = {"distance": DISTANCES.default, "mapping": MAPPINGS.default}
        extra |= {name: labels[name] for name, usual in defaults.items() if labels[name] != usual}
        control = labels["control"]
    return {"treatment": _short(RIVALS, rival.method, *extra.items()), "control": control}


@derived
@cache
def _short(registry: Registry[Any], component: Component, *extra: tuple[str, Any]) -> str:
    return registry.label(component, **dict(extra))


def _mixture(guides: Sequence[str], guidance: Guidance, searched: Keys) -> str:
    """The label of guides with their weights: `0.75*resnet2d+0.25*vit`."""
    if SHARE in searched:
        return "+".join(f"{TUNED}*{guide}" for guide in guides)
    parts = zip(guides, guidance.terms, strict=True)
    return "+".join(g if term.weight == 1 else f"{_number(term.weight)}*{g}" for g, term in parts)


def _number(weight: float) -> str:
    """A weight that no other has, without a plus."""
    return format_number(weight).replace("e+", "e")


def _guidance_labels(guidance: Guidance, place: Guidance, searched: Keys) -> dict[str, Any]:
    """Labels of guidance in the place of a guided condition's, whose mapping it has in tables."""
    schedule = guidance.schedule
    free = _options("schedule", searched)
    # A control that is part of a mixture stands in the label of its guides.
    guides = [
        term
        for term, placed in zip(guidance.terms, place.terms, strict=True)
        if placed.control == NO_CONTROL
    ]
    return {
        "state": _joined(term.guide.state for term in guides),
        "control": _joined(_short(CONTROLS, term.control) for term in guides),
        "distance": _joined(_distance_label(term, searched) for term in guidance.terms),
        "mapping": _joined(_mapping_label(term, searched) for term in place.terms),
        "schedule": _schedule_label(schedule, free),
        "alpha": None if "alpha" in free else schedule.alpha,
        "stop_step": None if "stop_step" in free else schedule.stop_step,
    }


def _schedule_label(schedule: Schedule, free: Sequence[str]) -> str:
    """The label of a schedule; a searched field is `tuned`."""
    names = ["stop" if name == "stop_step" else name for name in free]
    kept = [part for part in schedule.label.split(",") if part.partition("=")[0] not in names]
    return ",".join([f"{name}={TUNED}" for name in names] + kept)


def _joined(labels: Iterable[str | None]) -> str | None:
    """One label for all terms where they agree, else theirs in turn."""
    found = list(labels)
    return found[0] if len(set(found)) == 1 else "+".join(map(str, found))


def _distance_label(term: Term, searched: Keys) -> str:
    rows = {} if term.rows == "examples" else {"rows": term.rows}
    free = dict.fromkeys(_options("distances", searched), TUNED)
    return _short(DISTANCES, _without(term.distance, free), *(rows | free).items())


def _mapping_label(term: Term, searched: Keys) -> str:
    reduction = {} if term.reduction == "sum" else {"reduction": term.reduction}
    free = dict.fromkeys(_options("mapping", searched), TUNED)
    return _short(MAPPINGS, _without(term.mapping, free), *(reduction | free).items())


def _options(part: str, searched: Keys) -> list[str]:
    """First names after `part` among searched keys, each once."""
    split = (key.split(".") for key in searched)
    return list(dict.fromkeys(name for first, name, *_ in split if first == part))


def _without(component: Component, options: Container[str]) -> Component:
    kept = tuple(item for item in component.options if item[0] not in options)
    return Component(component.name, kept)


def _network_label(
    architecture: Component,
    train: TrainSettings,
    differing: Iterable[str],
    *,
    weights: str | None = None,
    batch_norm: str | None = None,
    inputs: str = "same",
    control: str | None = None,
    searched: Keys = (),
) -> str:
    extra = {} if weights is None else {"weights": weights}
    if batch_norm not in (None, "calibrated"):
        extra["batch_norm"] = batch_norm
    if inputs != "same":
        extra["inputs"] = inputs
    free = dict.fromkeys(_options("targets", searched), TUNED)
    settings = {
        key: TUNED if key in searched else getattr(train, name)
        for name, key in ((name, f"train.{name}") for name in differing)
    }
    extra = free | extra | settings
    if control is not None:
        # Last, where the table of dials looks for it.
        extra["control"] = control
    return _short(ARCHITECTURES, _without(architecture, free), *extra.items())


_Key = tuple[str, Component, Component, Weights | None]


def _key(condition: Condition) -> _Key:
    """A key of networks whose labels omit their training settings unless these differ."""
    role = "guide" if condition.is_guide else "target"
    return role, condition.task, condition.target, condition.weights


def _differing_settings(uses: list[PlanRow]) -> dict[_Key, list[str]]:
    """Training settings that differ within the study, by (role, task, network, weights)."""
    seen: dict[_Key, dict[TrainSettings, None]] = {}
    for use in uses:
        if not use.is_matched:
            seen.setdefault(_key(use.named), {})[use.named.train] = None
    names = [item.name for item in fields(TrainSettings)]
    return {
        key: [name for name in names if len({getattr(s, name) for s in settings}) > 1]
        for key, settings in seen.items()
    }


def _shown(use: PlanRow, differing: Mapping[_Key, list[str]]) -> list[str]:
    """Training settings that stand in the label of a target."""
    # That of a tuned baseline at equal compute has a target of its own.
    names = differing.get(_key(use.named), [])
    if not use.is_matched:
        return names
    return [name for name in names if name not in ("epochs", "steps")] + ["steps"]


def _namesakes(uses: list[PlanRow]) -> set[str]:
    """Names of weights files that have several contents in the study."""
    contents: dict[str, set[str]] = {}
    for use in uses:
        rival = use.condition.rival
        weights = use.condition.weights if rival is None else rival.weights
        # A publisher's name is told from another's by the network that it is for.
        if weights is not None and not weights.published:
            contents.setdefault(weights.name, set()).add(weights.content)
    return {name for name, found in contents.items() if len(found) > 1}


def _weights_label(weights: Weights | None, namesakes: set[str]) -> str | None:
    if weights is None:
        return None
    return f"{weights.name}:{weights.content[:8]}" if weights.name in namesakes else weights.name
