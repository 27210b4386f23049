"""Measures of a whole data set from sums over its batches: exact, without keeping any rows.

With features `X (n, p)` and `Y (n, q)` centred over *all* rows, some measures need only `X'Y`,
`X'X`, `Y'Y` and (to remove bias) `sum_i |x_i|^2 |y_i|^2`. The means are known only at the end. So
rows are summed less a provisional mean, that of the first batch, whose difference from the mean is
`d` (`e` for the other tap). With `u = x - provisional`, and `v` likewise of the other tap:

    X'Y = sum_i u_i v_i' - n d e'
    |u_i - d|^2 = a_i - 2 d.u_i + |d|^2,    a_i = |u_i|^2,  b_i = |v_i|^2

so that `sum_i |u_i - d|^2 |v_i - e|^2` needs `sum a_i b_i`, `sum b_i u_i`, `sum a_i v_i` and
`sum u_i v_i'` beside the means. The first batch's b rows bound the cancellation: however far off
the other rows are, `|d|^2` is at most about n / b times the variance, which float64 can represent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trainers.distances._centring import rounding
from trainers.measures._products import Products, TapProducts
from trainers.measures.base import Comparison, Measure


class ProductAccumulator:
    """A measure between all guide taps and all target taps, over all rows of all batches.

    Holds the product of every pair of taps and of each tap with itself (`nbytes`), whatever the
    number of rows. All batches have the taps of the first `update`.
    """

    def __init__(self, measure: Measure) -> None:
        assert measure.from_sums, measure
        self._measure = measure
        self._targets: list[_Tap] = []
        self._guides: list[_Tap] = []
        self._cross: list[list[Tensor]] = []
        self._row_products = torch.zeros(())
        self.guide_taps: tuple[str, ...] = ()
        self.target_taps: tuple[str, ...] = ()
        #: Number of rows added so far.
        self.num_rows = 0

    @staticmethod
    def nbytes(target_widths: Sequence[int], guide_widths: Sequence[int]) -> int:
        """Memory of the sums in bytes, for taps of these widths."""
        squares = sum(width**2 for width in (*target_widths, *guide_widths))
        return 8 * (sum(target_widths) * sum(guide_widths) + squares)

    @torch.no_grad()
    def update(self, target: Mapping[str, Tensor], guide: Mapping[str, Tensor]) -> None:
        """Add one batch: features (n, p) by target tap and (n, q) by guide tap, same n rows.

        Raises ValueError if taps differ in rows, or are not those of the first batch.
        """
        rows = {len(features) for features in (*target.values(), *guide.values())}
        if len(rows) != 1 or 0 in rows:
            raise ValueError(f"all taps need the same n >= 1 rows, got n = {sorted(rows)}")
        if self.num_rows == 0:
            self._begin(target, guide)
        before = _widths(self.guide_taps, self._guides), _widths(self.target_taps, self._targets)
        now = tuple({name: x.shape[1] for name, x in side.items()} for side in (guide, target))
        if now != before:
            raise ValueError(
                f"taps changed: first guide {before[0]} and target {before[1]}, then guide "
                f"{now[0]} and target {now[1]}"
            )
        targets = [t.shifted(x) for t, x in zip(self._targets, target.values(), strict=True)]
        guides = [t.shifted(x) for t, x in zip(self._guides, guide.values(), strict=True)]
        norms = torch.stack([features.square().sum(1) for features in (*targets, *guides)], 1)
        self._row_products = self._row_products.to(norms) + norms.T @ norms
        taps = (*self._targets, *self._guides)
        for tap, features in zip(taps, (*targets, *guides), strict=True):
            tap.add(features, norms)
        for sums, left in zip(self._cross, targets, strict=True):
            for total, right in zip(sums, guides, strict=True):
                total.addmm_(left.T, right)
        self.num_rows += rows.pop()

    @torch.no_grad()
    def comparisons(self) -> dict[tuple[str, str], Comparison]:
        """The measure by (guide tap, target tap), over all rows added.

        Raises ValueError if these are too few.
        """
        self._measure.check_shape(self.num_rows, 1)
        first = len(self._targets)
        targets = [self._tap_products(i, tap) for i, tap in enumerate(self._targets)]
        guides = [self._tap_products(first + j, tap) for j, tap in enumerate(self._guides)]
        return {
            (self.guide_taps[j], self.target_taps[i]): self._compare(
                Products(targets[i], guides[j], *self._pair(i, j))
            )
            for j in range(len(guides))
            for i in range(first)
        }

    def _begin(self, target: Mapping[str, Tensor], guide: Mapping[str, Tensor]) -> None:
        self.guide_taps, self.target_taps = tuple(guide), tuple(target)
        num_taps = len(guide) + len(target)
        self._targets = [_Tap(features, num_taps) for features in target.values()]
        self._guides = [_Tap(features, num_taps) for features in guide.values()]
        self._cross = [
            [left.sums.new_zeros(len(left.sums), len(right.sums)) for right in self._guides]
            for left in self._targets
        ]

    def _compare(self, pair: Products) -> Comparison:
        collapsed = [tap.is_constant or self._measure.is_empty(tap) for tap in (pair[0], pair[1])]
        if not (math.isfinite(pair.target.size) and math.isfinite(pair.guide.size)):
            return Comparison(math.nan, *collapsed)
        return Comparison(0.0 if any(collapsed) else self._measure.from_products(pair), *collapsed)

    def _tap_products(self, index: int, tap: _Tap) -> TapProducts:
        n, remainder = self.num_rows, tap.sums / self.num_rows
        product = tap.product - n * torch.outer(remainder, remainder)
        rows = self._row_sum(index, tap, index, tap, tap.product)
        trace = float(product.trace())
        mean = tap.shift + remainder
        size = trace + n * float(mean @ mean)
        return TapProducts(product, trace, rows, n, size, tap.noise)

    def _pair(self, i: int, j: int) -> tuple[Tensor, float]:
        left, right, cross = self._targets[i], self._guides[j], self._cross[i][j]
        centred = cross - torch.outer(left.sums, right.sums) / self.num_rows
        return centred, self._row_sum(i, left, len(self._targets) + j, right, cross)

    def _row_sum(self, i: int, left: _Tap, j: int, right: _Tap, product: Tensor) -> float:
        """Sum over rows of |u - d|^2 |v - e|^2, by the expansion above."""
        n = self.num_rows
        d, e = left.sums / n, right.sums / n
        dd, ee = d @ d, e @ e
        a, b = left.product.trace(), right.product.trace()
        total = self._row_products[i, j] + ee * a + dd * b + n * dd * ee
        total = total - 2 * (d @ left.weighted[j]) - 2 * (e @ right.weighted[i])
        total = total + 4 * (d @ product @ e)
        return float(total - 2 * n * (ee * dd + dd * ee))


def _widths(names: Sequence[str], taps: Sequence[_Tap]) -> dict[str, int]:
    return {name: len(tap.sums) for name, tap in zip(names, taps, strict=True)}


class _Tap:
    """Sums over rows of one tap's features less their provisional mean, u (n, p)."""

    def __init__(self, first: Tensor, num_taps: int) -> None:
        self.noise = rounding(first.dtype)
        self.shift = first.double().mean(0)
        self.sums = torch.zeros_like(self.shift)
        self.product = self.sums.new_zeros(len(self.sums), len(self.sums))
        #: Sums of u weighted by the squared row norms of tap k, in row k.
        self.weighted = self.sums.new_zeros(num_taps, len(self.sums))

    def shifted(self, features: Tensor) -> Tensor:
        """Features (n, p) less the provisional mean, in float64."""
        return features.double() - self.shift

    def add(self, features: Tensor, norms: Tensor) -> None:
        """Add shifted features (n, p), and the squared row norms (n, taps) of all taps."""
        self.sums += features.sum(0)
        self.product.addmm_(features.T, features)
        self.weighted.addmm_(norms.T, features)
