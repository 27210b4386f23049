"""Kappa of pairs of replicates, and means and differences of such kappas over seeds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.answers import Answers, Booleans, Integers, Split
from analysis.consistency import kappa as formulas
from analysis.consistency.bootstrap import DRAWS, Bootstrap, Pair, interval
from analysis.consistency.kappa import Reals

#: Draws of test splits are kept up to so many bytes: of several tasks, or of seeds with data of
#: their own. All of a study's splits recur in each condition, so that too few would all be lost.
KEPT_BYTES = 2**29

#: Answers of all pairs are compared in blocks of so many.
BLOCK_VALUES = 2**20

#: Draws of pairs are copied in so many rows.
ROWS_AT_ONCE = 512

#: Weight of each pair of one seed: {pair: 1} is its kappa, {first: 1, second: -1} a difference.
Weights = Mapping[Pair, float]


class Agreement(NamedTuple):
    """Agreement of the answers of two replicates on one test split."""

    examples: int
    observed: float
    expected: float
    kappa: float
    bound_low: float
    bound_high: float
    kappa_matched: float
    same_wrong: float


class Contrast(NamedTuple):
    """A mean over seeds of weighted kappas, with its interval; None where it is not defined."""

    estimate: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, eq=False)
class Agreements:
    """Agreement of P pairs that have a kappa, and their kappas in the draws `(P, draws)`."""

    pairs: Mapping[Pair, Agreement]
    draws: Reals

    @cached_property
    def _rows(self) -> dict[Pair, int]:
        return {pair: row for row, pair in enumerate(self.pairs)}

    def __contains__(self, pair: Pair) -> bool:
        return pair in self.pairs

    def contrast(self, seeds: Sequence[Weights]) -> Contrast:
        """Mean over S seeds of sums of weighted kappas; all pairs must be defined."""
        if not seeds:
            return Contrast()
        total: dict[Pair, float] = {}
        for weights in seeds:
            for pair, weight in weights.items():
                total[pair] = total.get(pair, 0.0) + weight / len(seeds)
        vector = np.array(list(total.values()))
        estimate = float(vector @ np.array([self.pairs[pair].kappa for pair in total]))
        # Only these rows: 0 times the NaN of another pair would be NaN.
        rows = np.array([self._rows[pair] for pair in total])
        draws = np.zeros(self.draws.shape[1])
        for at in range(0, len(rows), ROWS_AT_ONCE):
            part = slice(at, at + ROWS_AT_ONCE)
            draws += vector[part] @ self.draws[rows[part]]
        return Contrast(estimate, *interval(draws))


class Agreeing:
    """Computes agreements from answers; keeps the draws of the splits that it met last."""

    def __init__(self, answers: Answers, draws: int = DRAWS) -> None:
        self._answers, self._draws = answers, draws
        self._bootstraps: OrderedDict[Split, Bootstrap] = OrderedDict()

    def agreements(self, pairs: Iterable[Pair]) -> Agreements:
        """Agreements of those pairs that have a kappa: on one test split, and no side constant."""
        distinct = dict.fromkeys(pairs)
        names = dict.fromkeys(chain.from_iterable(distinct))
        splits = {name: self._answers.split(name) for name in names}
        by_split: dict[Split, list[Pair]] = {}
        for pair in distinct:
            first, second = splits[pair[0]], splits[pair[1]]
            if first is not None and first is second:
                by_split.setdefault(first, []).append(pair)
        found: dict[Pair, Agreement] = {}
        draws: list[Reals] = []
        for split, wanted in by_split.items():
            names = dict.fromkeys(chain.from_iterable(wanted))
            wrong = {name: ~self._answers.correct(name) for name in names}
            known = self._defined(split, wanted, wrong)
            if known:
                found |= known
                draws.append(self._bootstrap(split).kappas(list(known), wrong))
        # Of one split they are not copied: with many seeds they are hundreds of megabytes.
        nothing = np.empty((0, self._draws))
        return Agreements(found, draws[0] if len(draws) == 1 else np.concatenate([nothing, *draws]))

    def _bootstrap(self, split: Split) -> Bootstrap:
        if split not in self._bootstraps:
            self._bootstraps[split] = Bootstrap(split, self._draws)
            size = sum(bootstrap.num_bytes for bootstrap in self._bootstraps.values())
            while size > KEPT_BYTES and len(self._bootstraps) > 1:
                _, oldest = self._bootstraps.popitem(last=False)
                size -= oldest.num_bytes
        self._bootstraps.move_to_end(split)
        return self._bootstraps[split]

    def _defined(
        self, split: Split, pairs: Sequence[Pair], wrong: Mapping[str, Booleans]
    ) -> dict[Pair, Agreement]:
        """Agreements on one split of the pairs that have a kappa."""
        place = {name: row for row, name in enumerate(wrong)}
        left, right = (np.array([place[pair[side]] for pair in pairs]) for side in (0, 1))
        n = len(split)
        errors = list(wrong.values())
        num_wrong = np.array([np.count_nonzero(each) for each in errors], dtype=float)
        wrong_first, wrong_second = num_wrong[left], num_wrong[right]
        both_wrong = _counted(np.logical_and, errors, left, right)
        chosen = [self._answers.predictions(name) for name in wrong]
        same = _counted(np.equal, chosen, left, right)
        first, second = 1 - wrong_first / n, 1 - wrong_second / n
        both_right = n - wrong_first - wrong_second + both_wrong
        both = both_right / n
        same_wrong = np.full(len(pairs), np.nan)
        np.divide(same - both_right, both_wrong, out=same_wrong, where=both_wrong > 0)
        columns = (
            formulas.observed(first, second, both),
            formulas.expected(first, second),
            formulas.kappa(first, second, both),
            *formulas.bounds(first, second),
            formulas.kappa_at_matched_accuracy(first, second, both),
            same_wrong,
        )
        rows = np.stack(columns, axis=1).tolist()
        found = {pair: Agreement(n, *row) for pair, row in zip(pairs, rows, strict=True)}
        return {pair: each for pair, each in found.items() if not np.isnan(each.kappa)}


def _counted(
    compare: np.ufunc, rows: Sequence[npt.NDArray[Any]], left: Integers, right: Integers
) -> Reals:
    """Number of places at which rows `left` and `right` `(P,)`, `(N,)` each, compare."""
    total = np.zeros(len(left))
    size = max(1, BLOCK_VALUES // len(left))
    for start in range(0, len(rows[0]), size):
        values = np.stack([row[start : start + size] for row in rows])
        total += np.count_nonzero(compare(values[left], values[right]), axis=1)
    return total
