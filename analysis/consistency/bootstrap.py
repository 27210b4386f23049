"""Bootstrap over clusters of test examples, by matrix products.

A draw takes as many clusters as there are, with replacement: cluster c stands in it w_c times, and
a count over the examples of the draw is the sum over clusters of w_c times the count in c. So the
counts of all draws are a product of counts by cluster `(P, clusters)` with weights
`(clusters, draws)`, and no example is copied. Wrong answers are counted, not right ones: kappa is
the same, and clusters without any are left out of the product. All networks on one test split see
the same draws, as in Klein et al. 2025, so that differences between them are paired.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from analysis.answers import Booleans, Split
from analysis.consistency.kappa import Reals, kappa

#: Number of draws.
DRAWS = 1000
#: Seed of the draws: the same test split gets the same draws in every run and study.
SEED = 20250706645
#: Limits of an interval: the 2.5th and the 97.5th percentile of the draws.
QUANTILES = (0.025, 0.975)
#: There is no interval where more than this share of the draws has no value.
MOST_UNDEFINED = 0.05
#: Weights are converted to float32 in blocks of this many bytes; kappas are computed in some that
#: stay in a processor's cache.
BLOCK_BYTES = 2**23
#: Answers that are counted in one product.
AT_ONCE = 256
#: Replicates whose counts are kept: baselines and guides recur in each condition.
KEPT_REPLICATES = 1024

Pair = tuple[str, str]
_Item = TypeVar("_Item")


class Bootstrap:
    """Draws of the clusters of one test split, and the counts of pairs of replicates in them."""

    def __init__(self, split: Split, draws: int = DRAWS) -> None:
        self._split, self._draws = split, draws
        self._weights = draw_counts(split.num_clusters, draws)
        self._kept: OrderedDict[str, npt.NDArray[np.float32]] = OrderedDict()
        (size,) = self._product(np.ones((1, len(split)), dtype=bool))
        self._size = size.astype(np.float64)

    def __len__(self) -> int:
        """Number of replicates whose counts are kept."""
        return len(self._kept)

    @property
    def num_bytes(self) -> int:
        """Memory of the draws."""
        return self._weights.nbytes

    def kappas(self, pairs: Sequence[Pair], wrong: Mapping[str, Booleans]) -> Reals:
        """Kappa `(P, draws)` of P pairs of replicates; NaN where a side does not vary in a draw.

        All are NaN where the split is one cluster: its draws are all the same.

        `wrong`: replicate to which of its answers `(N,)` are wrong.
        """
        if self._split.num_clusters < 2:
            return np.full((len(pairs), self._draws), np.nan)
        rows = {name: row for row, name in enumerate(dict.fromkeys(chain.from_iterable(pairs)))}
        first, second = (np.array([rows[pair[side]] for pair in pairs]) for side in (0, 1))
        alone = self._alone(rows, wrong) / self._size
        found = np.empty((len(pairs), self._draws))
        size = max(1, BLOCK_BYTES // (128 * self._draws))
        # What is counted is dropped part by part: with many seeds there are seeds^2 pairs.
        for at, part in _parts(pairs):
            both = self._product(np.stack([wrong[a] & wrong[b] for a, b in part]))
            for row in range(at, at + len(part), size):
                block = slice(row, min(row + size, at + len(part)))
                counts = both[block.start - at : block.stop - at]
                found[block] = kappa(alone[first[block]], alone[second[block]], counts / self._size)
        return found

    def _alone(
        self, names: Collection[str], wrong: Mapping[str, Booleans]
    ) -> npt.NDArray[np.float32]:
        """Wrong answers `(R, draws)` of each of R replicates."""
        for _, part in _parts([name for name in names if name not in self._kept]):
            counts = self._product(np.stack([wrong[name] for name in part]))
            self._kept.update(zip(part, counts, strict=True))
        for name in names:
            self._kept.move_to_end(name)
        found = np.stack([self._kept[name] for name in names])
        while len(self._kept) > KEPT_REPLICATES:
            self._kept.popitem(last=False)
        return found

    def _product(self, columns: Booleans) -> npt.NDArray[np.float32]:
        """Counts `(P, draws)` of columns `(P, N)`; exact below 2^24."""
        counts = self._split.by_cluster(columns)
        clusters = np.flatnonzero(counts.any(axis=0))
        total = np.zeros((len(counts), self._draws), dtype=np.float32)
        size = max(1, BLOCK_BYTES // (4 * self._draws))
        for start in range(0, len(clusters), size):
            block = clusters[start : start + size]
            total += counts[:, block] @ self._weights[block].astype(np.float32)
        return total


def _parts(items: Sequence[_Item]) -> Iterator[tuple[int, Sequence[_Item]]]:
    """Items that are counted in one product, with the place of the first."""
    for start in range(0, len(items), AT_ONCE):
        yield start, items[start : start + AT_ONCE]


def interval(draws: Reals) -> tuple[float | None, float | None]:
    """Percentile interval of values `(draws,)`; (None, None) where too many of them are NaN."""
    known = draws[~np.isnan(draws)]
    if len(known) < (1 - MOST_UNDEFINED) * len(draws):
        return None, None
    low, high = np.quantile(known, QUANTILES)
    return float(low), float(high)


def draw_counts(clusters: int, draws: int) -> npt.NDArray[np.uint8]:
    """Number of times that each cluster stands in each draw, `(clusters, draws)`."""
    generator = np.random.default_rng(SEED)
    weights = np.empty((clusters, draws), dtype=np.uint8)
    for draw in range(draws):
        chosen = generator.integers(clusters, size=clusters)
        weights[:, draw] = np.bincount(chosen, minlength=clusters)
    return weights
