"""The trials of an arm, as far as the results in a store say which they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import Protocol

from study.errors import SpecError
from study.search import points, sampler
from study.search.points import Point
from study.spec.search import Dimension, Search
from trainers import tasks
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guidance

#: Makes the condition that is trained of one with a point's values: its cache, and `--debug`.
Prepare = Callable[[Condition], Condition]
#: An arm's condition with the values of a point; raises ValueError where they do not fit.
At = Callable[[Point], Condition]


class Results(Protocol):
    """Results of replicates."""

    def value(self, condition: Condition, seed: int, metric: str) -> float | None:
        """The metric at the last step; None before the replicate has ended, nan if it failed."""


class NoResults:
    """Results where nothing is trained."""

    def value(self, condition: Condition, seed: int, metric: str) -> float | None:  # noqa: ARG002
        """None: it has not ended."""
        return None


NO_RESULTS = NoResults()


@dataclass(frozen=True)
class Trial:
    """One trial of an arm, numbered from 0 as are the batches, and the condition it trains."""

    number: int
    batch: int
    point: Point
    condition: Condition


@dataclass(frozen=True, eq=False)
class Arm:
    """A baseline, guided condition or control whose settings are searched.

    `form` is its condition with the first value of each key: arms of one form are one arm.
    `trials` are those that are known so far; `chosen` is None until all have ended.
    """

    search: Search
    space: Mapping[str, Dimension]
    form: Condition
    trials: list[Trial] = field(default_factory=list)
    chosen: Trial | None = None

    @property
    def num_later(self) -> int:
        """Number of trials that are not known yet."""
        return self.search.budget - len(self.trials)


def space_of(search: Search, condition: Condition) -> Mapping[str, Dimension]:
    """The part of a search's space that a condition has: keys of guidance only with guidance.

    Rivals have a form of their own, alignment with guides too.
    """
    treatment = condition.treatment
    return search.space_of(len(treatment.terms) if isinstance(treatment, Guidance) else 0)


def form_of(search: Search, condition: Condition, at: At) -> Condition:
    """The form of a condition's arm; raises SpecError where two values do not fit each other.

    Each pair of values is tried with the first values of all other keys.
    """
    space = space_of(search, condition)
    first = points.first(space)
    corners = [[(key, value) for value in d.corners] for key, d in space.items()]
    for chosen in combinations(corners, min(2, len(corners))):
        for values in product(*chosen):
            _condition(at, {**first, **dict(values)})
    return _condition(at, first)


def searched(search: Search, form: Condition, at: At, results: Results, prepare: Prepare) -> Arm:
    """The arm of a form, with the batches that the results allow; a pure function of these.

    Each batch follows from the results of those before (`sampler.batch`). A trial's result is the
    mean over the tuning seeds; one with a replicate that failed is the worst. The trial of the best
    result is chosen, of equal ones the first.
    """
    space = space_of(search, form)
    higher = tasks.build(form.task).higher_is_better[search.metric]
    arm = Arm(search, space, form)
    told: list[tuple[Point, float]] = []
    while len(told) < search.budget:
        number = len(told) // search.batch
        asked = sampler.batch(search, space, told, higher_is_better=higher)
        trials = [
            Trial(first, number, point, prepare(_condition(at, point)))
            for first, point in enumerate(asked, len(told))
        ]
        arm.trials.extend(trials)
        values = [_mean(search, trial.condition, results) for trial in trials]
        for point, value in zip(asked, values, strict=True):
            if value is None:
                return arm
            told.append((point, value))
    return replace(arm, chosen=arm.trials[_best([value for _, value in told], higher)])


def _mean(search: Search, condition: Condition, results: Results) -> float | None:
    values = [results.value(condition, seed, search.select) for seed in search.seeds]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return math.nan if any(map(math.isnan, known)) else math.fsum(known) / len(known)


def _best(values: list[float], higher_is_better: bool) -> int:
    """Index of the best value; of none that is a number, the first."""
    sign = 1 if higher_is_better else -1
    ranks = [-math.inf if math.isnan(value) else sign * value for value in values]
    return ranks.index(max(ranks))


def _condition(at: At, point: Point) -> Condition:
    try:
        return at(point)
    except ValueError as error:
        raise SpecError(f"search.space: {points.encoded(point)}: {error}") from error
