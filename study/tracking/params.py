"""Parameters and tags of runs, as MLflow takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Param, RunTag

from study.plan.replicates import Replicate
from trainers.conditions.guidance import Term
from trainers.registry import Component

#: Columns of a plan that differ among the replicates of one condition.
_OF_ONE = (
    "replicate_id", "seed", "baseline_id", "guide_id", "guide_ids", "requires_ids", "matched_id",
    "matched_full_id",
)  # fmt: skip
#: Longest value, in characters, that every version and database of MLflow takes.
_LONGEST_VALUE = 5000


def tags_of(facts: Mapping[str, str]) -> list[RunTag]:
    """Facts as tags; names without a prefix get ours, those of MLflow's own stay."""
    return [RunTag(tag_name(name), text(value)) for name, value in facts.items()]


def tag_name(fact: str) -> str:
    """The name of a fact among tags."""
    return fact if fact.startswith("mlflow.") else f"archprior.{fact}"


def text(value: str, longest: int = _LONGEST_VALUE) -> str:
    """A value that MLflow takes; one that is too long is cut off and ends in its digest.

    Databases refuse zero bytes and halves of characters, which names of files may hold.
    """
    whole = value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    if len(whole) <= longest:
        return whole
    end = f"... (sha256 {hashlib.sha256(whole.encode()).hexdigest()[:16]})"
    return whole[: longest - len(end)] + end


def params_of(replicate: Replicate) -> list[Param]:
    """Every field of the condition as flat parameters, without those that do not apply."""
    return _params(replicate.row(), replicate)


def condition_params(replicate: Replicate) -> list[Param]:
    """Parameters that all replicates of a condition share: without seed and ids."""
    row = {k: v for k, v in replicate.row().items() if k not in _OF_ONE}
    return _params(row, replicate)


def _params(row: dict[str, Any], replicate: Replicate) -> list[Param]:
    for name in ("guide_ids", "requires_ids", "required_controls"):
        if name in row:
            row[name] = ", ".join(row[name] or ()) or None
    condition = replicate.condition
    settings = vars(condition.train)
    if condition.weights is not None:
        settings = {name: settings[name] for name in ("steps", "threads")}
    flat = row | {f"train.{k}": v for k, v in settings.items()}
    flat |= _options("task", condition.task) | _options("target", condition.target)
    if replicate.planned.use.is_matched:
        flat["matched"] = True
    if condition.weights is not None:
        flat["weights"] = condition.weights.content
    for index, term in enumerate(condition.terms, 1):
        prefix = "" if len(condition.terms) == 1 else f"{index}."
        flat |= {prefix + name: value for name, value in _term_params(term).items()}
    if condition.rival is not None and condition.rival.weights is not None:
        flat["rival_weights"] = condition.rival.weights.content
    return [Param(name, text(str(value))) for name, value in flat.items() if value is not None]


def _term_params(term: Term) -> dict[str, Any]:
    flat: dict[str, Any] = {"reduction": term.reduction, "rows": term.rows}
    flat["batch_norm"] = term.guide.batch_norm
    flat |= _options("distance", term.distance)
    if term.runs_guide:
        flat |= _options("guide", term.guide.architecture)
    if term.cache is not None:
        flat["cache"] = f"{term.cache.form}, {term.cache.dtype}"
    if term.guide.train is not None:
        flat |= {f"guide_train.{k}": v for k, v in vars(term.guide.train).items()}
    if term.guide.weights is not None:
        flat["weights"] = term.guide.weights.content
    return flat


def _options(name: str, component: Component) -> dict[str, Any]:
    """All options, those at their defaults too, which labels leave out."""
    return {f"{name}.{option}": value for option, value in component.options}
