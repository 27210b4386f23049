"""Linear predictivity: how well a linear map of one side predicts the other on held-out rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from trainers.measures import Measure, register
from trainers.measures._features import Features


@register(
    "predictivity",
    invariances=("rotation", "scale", "mean"),
    cost="n^2 (p + q), and folds x n r^2 with r = min(n, p) of the predicting side",
    bias="below 0 for features that have nothing in common: the map fits noise and is tested on "
    "other rows; with folds=1 above 0, and 1 where p >= n",
    source="Yamins et al. 2014, Performance-optimized hierarchical models; Hoerl & Kennard 1970",
)
class Predictivity(Measure):
    """Cross-validated R^2 of one side predicted from the other by ridge regression.

    R^2 = 1 - sum |y - prediction|^2 / sum |y - mean y|^2 over all rows and features, every row
    predicted by the map that was fitted without its fold. It is 1 at best, and below 0 if the mean
    would predict better; because of the ridge, equal features have a little less than 1.
    `direction` is the side that is predicted from the other: the two differ. `folds` is the number
    of contiguous blocks of rows, in their order, so that adjacent rows (tokens of one sequence) are
    mostly on the same side of a split; 1 fits and tests on all rows.

    `scaling` relative: the penalty is `ridge` times the mean of the eigenvalues of X'X of the
    predicting rows that can differ from 0 (squared norm over the smaller of their number less 1 and
    p), which does not depend on scale. Absolute: the penalty is `ridge`. As it goes to 0, with n
    well above p, the similarity becomes invariant to any linear map of the predicting side; 0 is
    least squares of minimum norm.
    """

    symmetric = False

    def __init__(
        self,
        *,
        direction: Literal["guide_from_target", "target_from_guide"] = "guide_from_target",
        ridge: float = 0.1,
        scaling: Literal["relative", "absolute"] = "relative",
        folds: int = 5,
    ) -> None:
        if not 0 <= ridge < math.inf or folds < 1:
            raise ValueError(
                f"measure predictivity: ridge is {ridge} and folds is {folds}; allowed: 0 or more, "
                "and 1 or more"
            )
        self.direction, self.ridge, self.scaling, self.folds = direction, ridge, scaling, folds
        self.min_rows = 2 * folds

    def view(self, features: Features) -> _Rows:
        """Centred rows of norm 1, rotated to at most n columns."""
        rows = features.rotated() / math.sqrt(features.trace)
        absolute = self.scaling == "absolute"
        ridge = self.ridge / features.trace if absolute else self.ridge
        return _Rows(rows, ridge, absolute, self.folds, features.noise)

    def similarity(self, target: _Rows, guide: _Rows) -> float:
        """R^2 of the predicted side."""
        pair = (target, guide) if self.direction == "guide_from_target" else (guide, target)
        return pair[0].r_squared(pair[1].rows)


@dataclass(frozen=True)
class _Rows:
    """Centred rows (n, r) of norm 1 and, if they predict, the smoother of each fold."""

    rows: Tensor
    ridge: float
    absolute: bool
    folds: int
    noise: float

    def r_squared(self, outcomes: Tensor) -> float:
        """R^2 of outcomes (n, q), which are centred and of norm 1."""
        residual = 0.0
        for held_out, fitted, smoother in self._smoothers:
            mean = outcomes[fitted].mean(0)
            predicted = mean + smoother @ (outcomes[fitted] - mean)
            residual += float((outcomes[held_out] - predicted).square().sum())
        return 1 - residual

    @cached_property
    def _smoothers(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Held-out rows, fitted rows, and the smoother (held out, fitted), for each fold.

        A prediction is linear in the outcomes, so that one fit predicts any outcomes.
        """
        every = torch.arange(len(self.rows), device=self.rows.device)
        if self.folds == 1:
            return [(every, every, self._smoother(every, every))]
        smoothers = []
        for held_out in every.tensor_split(self.folds):
            fitted = torch.cat([every[: held_out[0]], every[held_out[-1] + 1 :]])
            smoothers.append((held_out, fitted, self._smoother(held_out, fitted)))
        return smoothers

    def _smoother(self, held_out: Tensor, fitted: Tensor) -> Tensor:
        mean = self.rows[fitted].mean(0)
        x, held = self.rows[fitted] - mean, self.rows[held_out] - mean
        squared_norm = x.square().sum()
        smoother = held.new_zeros(len(held), len(x))
        if not squared_norm > self.noise**2:
            return smoother
        if self.ridge == 0:
            return torch.matmul(held, torch.linalg.pinv(x, rtol=self.noise), out=smoother)
        unit = 1.0 if self.absolute else squared_norm / min(len(x) - 1, x.shape[1])
        product = x.T @ x
        product.diagonal().add_(self.ridge * unit)
        return torch.matmul(held, torch.linalg.solve(product, x.T), out=smoother)
