"""Choice of the form of a guide's cache from sizes and the spec alone.

So the form is the same on every machine, and a resumed run repeats the same bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from trainers import mappings, tasks
from trainers.architectures.forward_pass import forward_pass
from trainers.conditions.cache_form import Cache, DType
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Term
from trainers.distances import DISTANCES
from trainers.registry import Component

#: Kinds of rows with one row per example: a Gram matrix over all examples contains every batch's.
GRAM_ROWS = ("examples", "pooled")
_ITEM_BYTES = {"float32": 4, "float16": 2}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Largest size of the cache of one guide at one seed, and its type."""

    max_bytes: int
    dtype: DType = "float32"


def with_cache(condition: Condition, budget: Budget) -> Condition:
    """The condition with the form of its guides' caches, where a guide's features are fixed.

    Gram matrices if the distance takes them, the features are wide (the widths of the taps sum to
    N, the number of training examples, or more) and they fit; else features if they fit; else none
    (`live`). Each guide has the whole budget.
    """
    task, guidance = tasks.build(condition.task), condition.guidance
    if guidance is None or task.num_train is None or task.augmented:
        return condition
    first = guidance.schedule.align_first
    if first is not None and first.inputs != "task":
        return condition
    terms = (_with_cache(term, condition.task, task.num_train, budget) for term in guidance.terms)
    return condition.with_terms(*terms)


def _with_cache(term: Term, task: Component, num_train: int, budget: Budget) -> Term:
    if not term.runs_guide or term.guide.batch_norm == "batch":
        return term
    widths = tap_widths(term.guide.architecture, task, mappings.taps_of(term.distance))
    item = _ITEM_BYTES[budget.dtype]
    feature_bytes = num_train * sum(widths) * item
    gram_bytes = num_train**2 * len(widths) * item
    grams = takes_grams(term.distance) and term.rows in GRAM_ROWS
    cache = Cache(form="live", feature_bytes=num_train * sum(widths) * 4)
    if grams and sum(widths) >= num_train and gram_bytes <= budget.max_bytes:
        cache = replace(cache, form="gram", dtype=budget.dtype)
    elif feature_bytes <= budget.max_bytes:
        cache = replace(cache, form="features", dtype=budget.dtype)
    return replace(term, cache=cache)


def takes_grams(distance: Component) -> bool:
    """Whether a distance takes Gram matrices of the guide instead of its features."""
    return DISTANCES[distance.name].factory.takes_grams


def tap_widths(
    architecture: Component, task: Component, taps: tuple[str, ...] | None = None
) -> tuple[int, ...]:
    """Number of values of each tap's output for one example, by default of the network's taps."""
    built = tasks.build(task)
    found = forward_pass(architecture, built.input, built.output)
    return tuple(math.prod(found.outputs[tap].shape[1:]) for tap in taps or found.taps)
