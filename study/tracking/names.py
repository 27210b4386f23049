"""Names of runs in MLflow, as a person reads them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from analysis.contract import Role
from study.tracking.params import text
from trainers.conditions.condition import Rival
from trainers.conditions.registries import RIVALS

if TYPE_CHECKING:
    from study.plan.replicates import PlanRow, Replicate

#: Columns of a condition that stand in names where they differ within the study.
_NAMED_IF_VARYING = ("task", "distance", "mapping", "schedule")
_LONGEST_NAME = 250


def varying(rows: Iterable[PlanRow]) -> frozenset[str]:
    """Columns among those that tell conditions of the study apart."""
    values: dict[str, set[str]] = {name: set() for name in _NAMED_IF_VARYING}
    for row in rows:
        for name, seen in values.items():
            value = row.labels.get(name)
            if value is not None:
                seen.add(value)
    return frozenset(name for name, seen in values.items() if len(seen) > 1)


def condition_name(replicate: Replicate, differing: Collection[str] = ()) -> str:
    """The name of a condition's run, such as `fcn <- resnet2d trained shuffled`.

    `differing` are the columns that tell the study's conditions apart; see `varying`.
    """
    return text(_condition_words(replicate, differing), _LONGEST_NAME)


def run_name(replicate: Replicate, differing: Collection[str] = ()) -> str:
    """The name of a replicate's run: that of its condition, and the seed."""
    words = [_condition_words(replicate, differing)]
    trial = replicate.planned.use.trial
    if replicate.role == Role.candidate and trial is not None:
        words.append(f"trial {trial.number}")
    if replicate.condition.weights is None:
        words.append(f"seed {replicate.seed}")
    return text(", ".join(words), _LONGEST_NAME)


def search_name(replicate: Replicate, differing: Collection[str] = ()) -> str:
    """The name of the run above the candidates of an arm."""
    return text(f"search: {_condition_words(replicate, differing)}", _LONGEST_NAME)


def _condition_words(replicate: Replicate, differing: Collection[str]) -> str:
    labels, condition = replicate.labels, replicate.condition
    target = labels["target"]
    if condition.is_guide:
        words = f"guide {target}"
    elif isinstance(condition.treatment, Rival):
        words = f"{target}, {RIVALS.label(condition.treatment.method)}"
    elif labels["guide"] is None:
        matched = " at equal compute" if replicate.planned.use.is_matched else ""
        words = f"baseline {target}{matched}"
    else:
        parts = (labels["guide"], labels["state"], labels["control"])
        guide = " ".join(part for part in parts if part not in (None, "none"))
        words = f"{target} <- {guide}"
    more = (labels[name] for name in _NAMED_IF_VARYING if name in differing)
    return ", ".join([words, *(value for value in more if value is not None)])
