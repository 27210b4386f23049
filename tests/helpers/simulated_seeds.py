"""Seeds drawn from distributions of several shapes, and the table of what was found of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import special

from analysis import statistics

NUM_SEEDS = (3, 5, 9, 12, 30)
#: Draws on which the package's functions are compared with those for all draws at once.
CHECKED = 20

Array = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]
#: Figures of a row, by the number of seeds.
Figures = dict[int, float]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Seeds of mean 0 and standard deviation 1."""
    return rng.standard_normal(shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """An exponential tail of bad seeds."""
    return 1 - rng.standard_exponential(shape)


def bimodal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Seeds that learn (70%) or do not (30%), far apart, with a little spread in either."""
    learnt = rng.random(shape) < 0.7
    modes = np.where(learnt, np.sqrt(3 / 7), -np.sqrt(7 / 3))
    values: Array = (modes + 0.1 * rng.standard_normal(shape)) / np.sqrt(1.01)
    return values


SHAPES: dict[str, Draw] = {"normal": normal, "skewed": skewed, "bimodal": bimodal}


def critical(freedom: Array | int) -> Array:
    """Quantile of t at which a two-sided interval of the package ends."""
    return np.asarray(special.stdtrit(freedom, (1 + statistics.CONFIDENCE) / 2))


def paired_t(difference: Array) -> tuple[Array, Array]:
    """Limits (draws,) of the interval of differences (draws, n)."""
    n = difference.shape[1]
    half = critical(n - 1) * difference.std(1, ddof=1) / np.sqrt(n)
    return difference.mean(1) - half, difference.mean(1) + half


def share(low: Array, high: Array, truth: Array | float) -> float:
    """Share of the defined intervals that hold the truth."""
    defined = np.isfinite(low)
    held = (low <= truth) & (truth <= high)
    return float(held[defined].mean())


def tell(measure: Callable[[int], dict[str, Figures]], description: str, draws: int) -> None:
    """Run a benchmark as a command: print its figures by row as Markdown, or JSON with `--json`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--draws", type=int, default=draws, help="draws a figure")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures = measure(given.draws)
    if given.json:
        print(json.dumps(figures))
        return
    columns = list(next(iter(figures.values())))
    print(f"| figure | {' | '.join(f'n {n}' for n in columns)} |")
    print(f"|---|{'---|' * len(columns)}")
    for label, row in figures.items():
        print(f"| {label} | {' | '.join(f'{row[n]:.3f}' for n in columns)} |")
