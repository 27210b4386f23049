"""The points of a batch, which Optuna is asked for.

A batch is a pure function of the search, the space and the results of the batches before: each call
makes a study of Optuna in memory, with a sampler whose seed follows from the tuning seeds and the
number of the batch. So a run that was interrupted, or another driver, gets the same points.

Random values of a key follow from the key, too, and from nothing else of the space: arms that share
a key try the same values of it, in the same trials. Few trials would otherwise compare the luck of
draws: in one search of 8, no dropout was in two trials of an arm, in none of another, and decided.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from study.search.points import Point
from study.spec.search import Dimension, Scalar, Search

#: Trials of an arm with random values, before TPE has seen enough to choose: Optuna's own number.
_RANDOM_TRIALS = 10
#: Real numbers are rounded to so many significant digits: types of CPU differ in the last bits,
#: and the same point must have the same content id on all.
_DIGITS = 6


def batch(
    search: Search,
    space: Mapping[str, Dimension],
    told: Sequence[tuple[Point, float]],
    *,
    higher_is_better: bool,
) -> list[Point]:
    """The points that follow `told`, the points of all batches before with their results.

    A result that is not a number is the worst. A space of no more points than the budget is tried
    whole; in any other the search's points to evaluate come first, in the place of what would be
    drawn, and TPE chooses after ten points (Bergstra et al. 2011).
    """
    count = min(search.batch, search.budget - len(told))
    if math.prod(dimension.num_values for dimension in space.values()) <= search.budget:
        return _tried_whole(search, space, len(told), count)
    asked = _drawn(search, space, told, count, higher_is_better)
    given = [{key: point[key] for key in space} for point in search.points_to_evaluate]
    return [*given[len(told) :][:count], *asked[max(0, len(given) - len(told)) :]]


def _drawn(
    search: Search,
    space: Mapping[str, Dimension],
    told: Sequence[tuple[Point, float]],
    count: int,
    higher_is_better: bool,
) -> list[Point]:
    """As many points as a batch has, random ones or those that Optuna's TPE asks for."""
    entropy = (*search.seeds, len(told) // search.batch)
    if len(told) < _RANDOM_TRIALS:
        drawn = [_random(key, d, repr(d), entropy, count) for key, d in space.items()]
        return [dict(zip(space, values, strict=True)) for values in zip(*drawn, strict=True)]
    results = tuple((tuple(point.values()), value) for point, value in told)
    asked = _asked(tuple(space.items()), repr(space), results, entropy, count, higher_is_better)
    return [dict(zip(space, values, strict=True)) for values in asked]


@lru_cache(maxsize=10_000)
def _random(
    key: str, dimension: Dimension, _exactly: str, entropy: tuple[int, ...], count: int
) -> tuple[Scalar, ...]:
    """Values that Optuna draws; kept, since every arm asks for them."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {key: _distribution(dimension)}
    name = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
    seed = int(np.random.SeedSequence((*entropy, name)).generate_state(1)[0])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    asked = [study.ask(distributions).params[key] for _ in range(count)]
    return tuple(_rounded(value, dimension) for value in asked)


@lru_cache(maxsize=10_000)
def _asked(
    space: tuple[tuple[str, Dimension], ...],
    _exactly: str,
    told: tuple[tuple[tuple[Scalar, ...], float], ...],
    entropy: tuple[int, ...],
    count: int,
    higher_is_better: bool,
) -> list[tuple[Scalar, ...]]:
    """Values that Optuna asks for; kept, since a run plans anew after each batch.

    `_exactly` tells apart what Python takes to be equal, such as 1 and True.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {key: _distribution(dimension) for key, dimension in space}
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    study = optuna.create_study(
        direction="maximize" if higher_is_better else "minimize",
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=_RANDOM_TRIALS),
    )
    worst = -math.inf if higher_is_better else math.inf
    study.add_trials(
        optuna.trial.create_trial(
            params=dict(zip(distributions, values, strict=True)),
            distributions=distributions,
            value=worst if math.isnan(value) else value,
        )
        for values, value in told
    )
    asked = [study.ask(distributions).params for _ in range(count)]
    return [tuple(_rounded(params[key], dim) for key, dim in space) for params in asked]


def _tried_whole(
    search: Search, space: Mapping[str, Dimension], start: int, count: int
) -> list[Point]:
    """`count` points of a small space in a random order, from `start`; then they repeat."""
    points = [
        dict(zip(space, values, strict=True))
        for values in itertools.product(*map(_values, space.values()))
    ]
    order = np.random.default_rng(search.seeds).permutation(len(points))
    return [points[order[number % len(points)]] for number in range(start, start + count)]


def _values(dimension: Dimension) -> Sequence[Scalar]:
    if dimension.values is not None:
        return dimension.values
    low, high = dimension.bounds
    assert isinstance(low, int)
    assert isinstance(high, int)
    return range(low, high + 1)


def _distribution(dimension: Dimension) -> Any:
    from optuna import distributions

    if dimension.values is not None:
        return distributions.CategoricalDistribution(dimension.values)
    low, high = dimension.bounds
    if isinstance(low, int) and isinstance(high, int):
        return distributions.IntDistribution(low, high, log=dimension.log)
    return distributions.FloatDistribution(low, high, log=dimension.log)


def _rounded(value: Scalar, dimension: Dimension) -> Scalar:
    if dimension.values is not None or not isinstance(value, float):
        return value
    low, high = dimension.bounds
    return min(max(float(f"{value:.{_DIGITS}g}"), low), high)
