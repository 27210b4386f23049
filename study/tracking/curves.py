"""Learning curves of a condition: mean and interval over its replicates at each step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from analysis.contract import DISTANCE
from analysis.saved_view import HIGH, LOW
from analysis.statistics import intervals_of_means
from trainers.store.tables import Point


def curves(histories: Sequence[Iterable[Point]]) -> list[Point]:
    """Points of each metric, averaged over `histories`, with 95% Student t limits over them.

    A step counts where every history has a finite value, at the time of the last of these.
    Limits are points of `<metric>/low` and `<metric>/high`; there are none for fewer than three
    histories, and where they do not vary. Metrics of pairs of taps have no limits.
    """
    tables = [{(p.metric, p.step): p for p in points if _finite(p)} for points in histories]
    if not tables:
        return []
    first, *others = tables
    keys = [key for key in first if all(key in other for other in others)]
    if not keys:
        return []
    values = np.array([[table[key].value for key in keys] for table in tables])
    stamps = [max(table[key].timestamp for table in tables) for key in keys]
    n = len(tables)
    means = values.mean(axis=0)
    spreads = values.std(axis=0, ddof=1) if n > 1 else np.zeros(len(keys))
    limits = intervals_of_means(np.full(len(keys), n), means, spreads, np.abs(values).max(axis=0))
    points = [
        Point(step, stamp, metric, float(mean))
        for (metric, step), stamp, mean in zip(keys, stamps, means, strict=True)
    ]
    for suffix, limit in zip((LOW, HIGH), limits, strict=True):
        points += [
            Point(step, stamp, metric + suffix, float(value))
            for (metric, step), stamp, value in zip(keys, stamps, limit, strict=True)
            if math.isfinite(value) and not metric.startswith(DISTANCE)
        ]
    return sorted(points, key=lambda point: (point.step, point.timestamp))


def _finite(point: Point) -> bool:
    return point.value is not None and math.isfinite(point.value)
