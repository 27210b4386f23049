"""Names of runs in MLflow, as a person reads them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analysis.contract import Role
from analysis.short_labels import short_labels
from study.tracking.params import text

if TYPE_CHECKING:
    from study.plan.replicates import PlanRow, Replicate

#: Columns of a condition that stand in names where they differ within the study.
_NAMED_IF_VARYING = ("task", "distance", "mapping", "schedule")
_LONGEST_NAME = 250


@dataclass(frozen=True)
class Naming:
    """Which labels tell the conditions of a study apart, and the short forms of networks.

    `differing` are columns that names have beside target, guide, state and control.
    """

    differing: Collection[str] = ()
    short: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Iterable[PlanRow]) -> Naming:
        """The naming of a study with these rows."""
        labels = [row.labels for row in rows]
        values = {
            name: {each[name] for each in labels if each.get(name) is not None}
            for name in (*_NAMED_IF_VARYING, "target", "guide")
        }
        differing = [name for name in _NAMED_IF_VARYING if len(values[name]) > 1]
        short = {**short_labels(values["guide"]), **short_labels(values["target"])}
        if len(set(short.values())) < len(short):
            short = {}
        return cls(frozenset(differing), short)


ANY = Naming()


def condition_name(replicate: Replicate, naming: Naming = ANY) -> str:
    """The name of a condition's run, such as `fcn <- resnet2d trained shuffled`."""
    return text(_condition_words(replicate, naming), _LONGEST_NAME)


def run_name(replicate: Replicate, naming: Naming = ANY) -> str:
    """The name of a replicate's run: that of its condition, and the seed."""
    words = [_condition_words(replicate, naming)]
    trial = replicate.planned.use.trial
    if replicate.role == Role.candidate and trial is not None:
        words.append(f"trial {trial.number}")
    if replicate.condition.weights is None:
        words.append(f"seed {replicate.seed}")
    return text(", ".join(words), _LONGEST_NAME)


def search_name(replicate: Replicate, naming: Naming = ANY) -> str:
    """The name of the run above the candidates of an arm."""
    return text(f"search: {_condition_words(replicate, naming)}", _LONGEST_NAME)


def _condition_words(replicate: Replicate, naming: Naming) -> str:
    labels, condition = replicate.labels, replicate.condition
    target = naming.short.get(labels["target"], labels["target"])
    if condition.is_guide:
        words = f"guide {target}"
    elif condition.rival is not None:
        control = "" if labels["control"] == "none" else f" {labels['control']}"
        words = f"{target}, {labels['treatment']}{control}"
    elif labels["guide"] is None:
        matched = " at equal compute" if replicate.planned.use.is_matched else ""
        words = f"baseline {target}{matched}"
    else:
        guide = naming.short.get(labels["guide"], labels["guide"])
        parts = (guide, labels["state"], labels["control"])
        guided_by = " ".join(part for part in parts if part not in (None, "none"))
        words = f"{target} <- {guided_by}"
    more = (labels[name] for name in _NAMED_IF_VARYING if name in naming.differing)
    return ", ".join([words, *(value for value in more if value is not None)])
