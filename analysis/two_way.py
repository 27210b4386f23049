"""The interval of a difference over seeds and over clusters of test examples.

A difference d_ki of seed k in cluster i is d + seed_k + cluster_i + residual_ki, all independent
and centred. The variance of the mean over K seeds and I clusters is then

    s_seed^2 / K + s_cluster^2 / I + s_residual^2 / (K I)
        = (E MS_seed + E MS_cluster - E MS_residual) / (K I),

with the mean squares of a two-way analysis of variance without replication, both factors random. It
is estimated by

    max(MS_seed, MS_seed + MS_cluster - MS_residual) / (K I),

so that it is never below the variance over seeds alone, with Satterthwaite's degrees of freedom
(1946, Biometrics Bulletin 2): the squared sum of the mean squares over the sum of their squares,
each by its own degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from analysis.answers import Answers, Integers
from analysis.cells import Cell, Metric
from analysis.statistics import CONFIDENCE, Values

#: The metric that predictions give for each example.
METRIC = "accuracy"


class TwoWay(NamedTuple):
    """A mean with its interval over rows and columns, and Satterthwaite's degrees of freedom."""

    mean: float
    low: float
    high: float
    degrees_of_freedom: float


def two_way_interval(values: Values) -> TwoWay | None:
    """The 95% interval of the mean of `values` (K seeds, I clusters) for new seeds and clusters.

    None for less than 3 seeds or 2 clusters, and where seeds do not vary.
    """
    num_seeds, num_clusters = values.shape
    if num_seeds < 3 or num_clusters < 2:
        return None
    mean = float(values.mean())
    of_seed, of_cluster = values.mean(1, keepdims=True), values.mean(0, keepdims=True)
    residual = values - of_seed - of_cluster + mean
    degrees = np.array([num_seeds - 1, num_clusters - 1, (num_seeds - 1) * (num_clusters - 1)])
    squares = [
        num_clusters * ((of_seed - mean) ** 2).sum(),
        num_seeds * ((of_cluster - mean) ** 2).sum(),
        (residual**2).sum(),
    ]
    seed, cluster, rest = np.array(squares) / degrees
    rounding = 4 * np.finfo(np.float64).eps * float(np.abs(values).max())
    if math.sqrt(seed / num_clusters) <= rounding:
        return None
    if cluster <= rest:
        variance, freedom = seed, float(degrees[0])
    else:
        variance = seed + cluster - rest
        freedom = float(variance**2 / (np.array([seed, cluster, rest]) ** 2 / degrees).sum())
    return _around(mean, variance / values.size, freedom)


def _around(mean: float, variance: float, degrees_of_freedom: float) -> TwoWay:
    from scipy import special

    critical = float(special.stdtrit(degrees_of_freedom, (1 + CONFIDENCE) / 2))
    half_width = critical * math.sqrt(variance)
    return TwoWay(mean, mean - half_width, mean + half_width, degrees_of_freedom)


def by_cluster(hits: Values, cluster: Integers) -> Values:
    """Values (K, I) of clusters, of which each row's mean is its mean over examples.

    `hits` (K, n) are numbers by example, `cluster` (n,) the cluster of each. Where clusters have
    one size, these are means over a cluster; else the mean of all plus the cluster's sum of
    deviations from it over the average size, as in ratio estimation from samples of clusters
    (Cochran 1977, Sampling Techniques, chapter 9A).
    """
    _, index = np.unique(cluster, return_inverse=True)
    size = np.bincount(index).astype(float)
    sums = np.stack([np.bincount(index, weights=row) for row in hits])
    grand = hits.mean()
    scaled: Values = grand + (sums - grand * size) * (len(size) / len(index))
    return scaled


class TwoWayIntervals:
    """Two-way intervals of cells, from the answers of their replicates and baselines."""

    def __init__(self, answers: Answers | None) -> None:
        self._answers = answers

    def columns(self, cell: Cell, seeds: Sequence[str], metric: Metric) -> dict[str, float | None]:
        """Columns `two_way_low` and `two_way_high` of a cell minus its baselines `seeds`.

        None of any metric but accuracy as the share of right predictions, without predictions,
        where clusters are not known (those of an older version), and where seeds were tested on
        other examples.
        """
        found = None
        if self._answers is not None and metric.name == METRIC:
            pairs = [(cell.members[seed].replicate_id, seed) for seed in seeds]
            found = _interval(pairs, metric, self._answers)
        low, high = (None, None) if found is None else (found.low, found.high)
        return {"two_way_low": low, "two_way_high": high}


def _interval(pairs: Sequence[tuple[str, str]], metric: Metric, answers: Answers) -> TwoWay | None:
    """The interval over pairs of a replicate and its baseline, or None."""
    everyone = list(chain.from_iterable(pairs))
    splits = {answers.split(name) for name in everyone}
    split = splits.pop() if len(splits) == 1 else None
    if split is None or not split.tells_clusters:
        return None
    hits = {name: answers.correct(name).astype(np.float64) for name in everyone}
    shares = [hits[name].mean() for name in everyone]
    if not np.allclose(shares, metric.at(everyone), rtol=0, atol=1e-9):
        return None
    differences = np.stack([hits[guided] - hits[baseline] for guided, baseline in pairs])
    return two_way_interval(by_cluster(differences, split.cluster))
