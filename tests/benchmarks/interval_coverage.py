"""How often the intervals over seeds hold the truth, over simulated seeds.

Run: python tests/benchmarks/interval_coverage.py [--draws N] [--json]

Fifteen seconds of one CPU core. Prints rows of a table of docs/statistics.md. Some draws are
checked by the package's own functions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from analysis import statistics
from analysis.two_way import two_way_interval
from tests.helpers.simulated_seeds import (
    CHECKED,
    NUM_SEEDS,
    SHAPES,
    Array,
    Figures,
    critical,
    normal,
    paired_t,
    share,
    tell,
)

NUM_DRAWS = 20_000
NUM_CLUSTERS = 100


def fieller(numerator: Array, denominator: Array) -> tuple[Array, Array]:
    """Limits (draws,) of ratios of means; NaN unless the denominator's interval is above zero."""
    n = numerator.shape[1]
    a, b = numerator.mean(1), denominator.mean(1)
    scale = critical(n - 1) ** 2 / (n * (n - 1))
    first, second = numerator - a[:, None], denominator - b[:, None]
    v_aa, v_bb = scale * (first**2).sum(1), scale * (second**2).sum(1)
    v_ab = scale * (first * second).sum(1)
    square, half_linear, constant = b * b - v_bb, a * b - v_ab, a * a - v_aa
    root = np.sqrt(np.maximum(0, half_linear**2 - square * constant))
    square = np.where((square > 0) & (b > 0), square, np.nan)
    return (half_linear - root) / square, (half_linear + root) / square


def two_way(values: Array) -> tuple[Array, Array]:
    """Limits (draws,) of the interval of `values` (draws, seeds, clusters)."""
    _, num_seeds, num_clusters = values.shape
    mean = values.mean((1, 2))
    of_seed, of_cluster = values.mean(2), values.mean(1)
    centred = values - of_seed[:, :, None] - of_cluster[:, None, :] + mean[:, None, None]
    freedom = np.array([num_seeds - 1, num_clusters - 1, (num_seeds - 1) * (num_clusters - 1)])
    seed = num_clusters * of_seed.var(1, ddof=1)
    cluster = num_seeds * of_cluster.var(1, ddof=1)
    rest = (centred**2).sum((1, 2)) / freedom[2]
    both = cluster > rest
    variance = np.where(both, seed + cluster - rest, seed)
    squares = np.stack([seed, cluster, rest]) ** 2 / freedom[:, None]
    degrees = np.where(both, variance**2 / squares.sum(0), freedom[0])
    half = critical(degrees) * np.sqrt(variance / (num_seeds * num_clusters))
    return mean - half, mean + half


def _same(found: Iterable[float | None], low: float, high: float) -> None:
    """Raise AssertionError where the package gives other limits."""
    expected = [low, high] if np.isfinite(low) else [None, None]
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None), (one, other)
        assert one is None or other is None or abs(one - other) < 1e-9, (one, other)


def coverage_of_t(shape: str, n: int, draws: int, rng: np.random.Generator) -> float:
    """Coverage of the paired t interval: seeds of a shape against normal ones of less spread."""
    guided = SHAPES[shape](rng, (draws, n))
    baseline = normal(rng, (draws, n)) * (1 if shape == "normal" else 0.25)
    low, high = paired_t(guided - baseline)
    for index in range(min(CHECKED, draws)):
        found = statistics.paired_difference(guided[index], baseline[index])
        _same((found.low, found.high), low[index], high[index])
    return share(low, high, 0.0)


def coverage_of_fieller(shape: str, n: int, draws: int, rng: np.random.Generator) -> float:
    """Coverage of the part of a lead that is closed, among the studies that have an interval.

    The guided seeds are of a shape; of the lead of 6 standard deviations they close a half.
    """
    spread = 1 if shape == "normal" else 0.25
    baseline = spread * normal(rng, (draws, n))
    guided = 3 + SHAPES[shape](rng, (draws, n)) - baseline
    guide = 6 + spread * normal(rng, (draws, n)) - baseline
    low, high = fieller(guided, guide)
    for index in range(min(CHECKED, draws)):
        found = statistics.ratio_of_means(guided[index], guide[index])
        _same((found.low, found.high), low[index], high[index])
    return share(low, high, 0.5)


def coverage_of_two_way(
    shape: str, n: int, draws: int, rng: np.random.Generator, *, seeds_alone: bool = False
) -> float:
    """Coverage of the effect on new seeds *and* new clusters of test examples.

    Seeds and clusters give a third of the variance of the mean over 5 seeds each. With
    `seeds_alone` the interval is that over seeds, given one test set.
    """
    draw = SHAPES[shape]
    held: list[float] = []
    for size in _parts(draws, 200):
        rows = 0.1 * draw(rng, (size, n, 1))
        columns = 0.45 * draw(rng, (size, 1, NUM_CLUSTERS))
        values = rows + columns + rng.standard_normal((size, n, NUM_CLUSTERS))
        limits = paired_t(values.mean(2)) if seeds_alone else two_way(values)
        if not held and not seeds_alone:
            for index in range(min(CHECKED, size)):
                found = two_way_interval(values[index])
                assert found is not None
                _same((found.low, found.high), limits[0][index], limits[1][index])
        held.append(share(*limits, 0.0) * size)
    return sum(held) / draws


def _parts(total: int, size: int) -> Iterator[int]:
    yield from (min(size, total - at) for at in range(0, total, size))


def measure(draws: int) -> dict[str, Figures]:
    """Every figure by its row and the number of seeds."""
    figures: dict[str, Figures] = {}
    intervals: dict[str, Callable[..., float]] = {
        "paired t": coverage_of_t,
        "Fieller": coverage_of_fieller,
        "two-way": coverage_of_two_way,
        "t over seeds, of other test examples": partial(coverage_of_two_way, seeds_alone=True),
    }
    for n, (name, coverage), shape in product(NUM_SEEDS, intervals.items(), SHAPES):
        rng = np.random.default_rng([n, *shape.encode()])
        found = coverage(shape, n, draws, rng)
        figures.setdefault(f"coverage: {name}, {shape} seeds", {})[n] = found
    return figures


def main() -> None:
    """Print the rows, as Markdown or JSON."""
    tell(measure, __doc__.splitlines()[0], NUM_DRAWS)


if __name__ == "__main__":
    main()
