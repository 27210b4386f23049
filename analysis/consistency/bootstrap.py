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
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from analysis.consistency.answers import Booleans, Split
from analysis.consistency.kappa import Reals, kappa

#: Number of draws.
DRAWS = 1000
#: Seed of the draws: the same test split gets the same draws in every run and study.
SEED = 20250706645
#: Limits of an interval: the 2.5th and the 97.5th percentile of the draws.
QUANTILES = (0.025, 0.975)
#: There is no interval where more than this share of the draws has no value.
MOST_UNDEFINED = 0.05
#: Weights are converted to float32 in blocks of this many bytes.
BLOCK_BYTES = 2**23
#: Pairs of replicates that are counted in one product.
PAIRS_AT_ONCE = 256
#: Pairs of replicates whose counts are kept: those of baselines and guides recur in each condition.
KEPT_PAIRS = 1024

Pair = tuple[str, str]


class Bootstrap:
    """Draws of the clusters of one test split, and the counts of pairs of replicates in them."""

    def __init__(self, split: Split, draws: int = DRAWS) -> None:
        self._split, self._draws = split, draws
        self._weights = draw_counts(split.num_clusters, draws)
        self._kept: OrderedDict[Pair, npt.NDArray[np.float32]] = OrderedDict()
        (size,) = self._product(np.ones((1, len(split)), dtype=bool))
        self._size = size.astype(np.float64)

    def __len__(self) -> int:
        """Number of pairs whose counts are kept."""
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
        wanted = [_ordered(pair) for pair in pairs]
        alone = {name: (name, name) for pair in pairs for name in pair}
        counts = self._counts([*wanted, *alone.values()], wrong)
        first = np.stack([counts[alone[a]] for a, _ in pairs])
        second = np.stack([counts[alone[b]] for _, b in pairs])
        both = np.stack([counts[pair] for pair in wanted])
        return kappa(*(number / self._size for number in (first, second, both)))

    def _counts(
        self, pairs: Iterable[Pair], wrong: Mapping[str, Booleans]
    ) -> dict[Pair, npt.NDArray[np.float32]]:
        """Answers `(draws,)` wrong on both sides of each pair; (a, a) are those wrong in a."""
        pairs = list(dict.fromkeys(pairs))
        new = [pair for pair in pairs if pair not in self._kept]
        for start in range(0, len(new), PAIRS_AT_ONCE):
            part = new[start : start + PAIRS_AT_ONCE]
            columns = np.stack([wrong[a] & wrong[b] for a, b in part])
            self._kept.update(zip(part, self._product(columns), strict=True))
        for pair in pairs:
            self._kept.move_to_end(pair)
        found = {pair: self._kept[pair] for pair in pairs}
        while len(self._kept) > KEPT_PAIRS:
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


def interval(draws: Reals) -> tuple[float | None, float | None]:
    """Percentile interval of values `(draws,)`; (None, None) where too many of them are NaN."""
    known = draws[~np.isnan(draws)]
    if len(known) < (1 - MOST_UNDEFINED) * len(draws):
        return None, None
    low, high = np.quantile(known, QUANTILES)
    return float(low), float(high)


def _ordered(pair: Pair) -> Pair:
    return pair if pair[0] <= pair[1] else (pair[1], pair[0])


def draw_counts(clusters: int, draws: int) -> npt.NDArray[np.uint8]:
    """Number of times that each cluster stands in each draw, `(clusters, draws)`."""
    generator = np.random.default_rng(SEED)
    weights = np.empty((clusters, draws), dtype=np.uint8)
    for draw in range(draws):
        chosen = generator.integers(clusters, size=clusters)
        weights[:, draw] = np.bincount(chosen, minlength=clusters)
    return weights
