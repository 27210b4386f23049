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
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.cells import Cell, Metric
from analysis.replicate_rows import rows_of
from analysis.statistics import CONFIDENCE, Values

if TYPE_CHECKING:
    import pandas as pd

#: The metric that predictions give for each example.
METRIC = "accuracy"
_Integers = npt.NDArray[np.signedinteger[Any]]


class TwoWay(NamedTuple):
    """A mean with its interval over rows and columns, and Satterthwaite's degrees of freedom."""

    mean: float
    low: float
    high: float
    degrees_of_freedom: float


class _Scored(NamedTuple):
    """Test predictions of a replicate, `(n,)` each: what was asked, and whether it was right."""

    questions: tuple[_Integers, _Integers, _Integers]
    cluster: _Integers
    hits: Values

    def asks(self, other: _Scored) -> bool:
        """Whether both were asked the same: example, position and label."""
        return all(map(np.array_equal, self.questions, other.questions))


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


def by_cluster(hits: Values, cluster: _Integers) -> Values:
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
    """Two-way intervals of cells, from the `predictions` of their replicates and baselines."""

    def __init__(self, predictions: pd.DataFrame | None) -> None:
        self._columns: Mapping[str, _Integers] = {}
        self._rows: Mapping[str, slice | _Integers] = {}
        if predictions is not None and len(predictions):
            # Arrays, because taking rows of the frame for each of many cells takes a minute.
            self._columns = {
                name: predictions[name].to_numpy(dtype=np.int32, na_value=-1)
                for name in ("example", "position", "label", "prediction", "cluster")
            }
            self._rows = rows_of(predictions["replicate_id"])

    def columns(self, cell: Cell, seeds: Sequence[str], metric: Metric) -> dict[str, float | None]:
        """Columns `two_way_low` and `two_way_high` of a cell minus its baselines `seeds`.

        None of any metric but accuracy as the share of right predictions, without predictions,
        where clusters are not known (those of an older version), and where seeds were tested on
        other examples.
        """
        names = [(cell.members[seed].replicate_id, seed) for seed in seeds]
        known = all(name in self._rows for pair in names for name in pair)
        found = self._interval(names, metric) if metric.name == METRIC and names and known else None
        low, high = (None, None) if found is None else (found.low, found.high)
        return {"two_way_low": low, "two_way_high": high}

    def _interval(self, names: Sequence[tuple[str, str]], metric: Metric) -> TwoWay | None:
        scored = [(self._scored(guided), self._scored(baseline)) for guided, baseline in names]
        first = scored[0][0]
        everyone = [each for pair in scored for each in pair]
        if not all(each.asks(first) for each in everyone):
            return None
        shares = [each.hits.mean() for each in everyone]
        if not np.allclose(shares, metric.at(chain.from_iterable(names)), rtol=0, atol=1e-9):
            return None
        clusters = next((each.cluster for each in everyone if (each.cluster >= 0).all()), None)
        if clusters is None:
            return None
        differences = np.stack([guided.hits - baseline.hits for guided, baseline in scored])
        return two_way_interval(by_cluster(differences, clusters))

    def _scored(self, replicate: str) -> _Scored:
        rows = self._rows[replicate]
        columns = {name: values[rows] for name, values in self._columns.items()}
        example, position = columns["example"], columns["position"]
        if not _ordered(example, position):
            order = np.lexsort((position, example))
            columns = {name: values[order] for name, values in columns.items()}
        hits: Values = (columns["label"] == columns["prediction"]).astype(np.float64)
        questions = (columns["example"], columns["position"], columns["label"])
        return _Scored(questions, columns["cluster"], hits)


def _ordered(example: _Integers, position: _Integers) -> bool:
    """Whether examples, and within them positions, already ascend: sorting would cost more."""
    step = np.diff(example)
    return bool(((step > 0) | ((step == 0) & (np.diff(position) > 0))).all())
