"""Tasks of values: squared error, and the share of the variance that is explained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from torch import Tensor
from torch.nn import functional

from trainers.tasks.base import Task

_ROUNDING = 1e-12


class Regression(Task):
    """A task of one value or several for each example; labels are float32 (N, num_values).

    Answers are predictions as they stand, in the unit of the labels, which `load` should
    standardise. R^2 is the primary metric: it has no unit, 1 is best, and below 0 a prediction is
    worse than the mean of the split.
    """

    primary_metric: ClassVar[str] = "r2"
    higher_is_better: ClassVar[Mapping[str, bool]] = {"r2": True, "mse": False}
    answers_with = "num_values"

    def loss(self, answers: Tensor, labels: Tensor) -> Tensor:
        """Mean squared error of answers and labels (batch, num_values)."""
        return functional.mse_loss(answers, labels)

    def predict(self, answers: Tensor) -> Tensor:
        """The answers."""
        return answers

    def tally(self, answers: Tensor, labels: Tensor) -> dict[str, float]:
        """Number of examples, and of each value the sums of squared errors, labels and squares."""
        answers, labels = answers.double(), labels.double()
        sums = {
            "error": (answers - labels).square().sum(0),
            "label": labels.sum(0),
            "square": labels.square().sum(0),
        }
        each = {f"{name}_{i}": x for name, sum in sums.items() for i, x in enumerate(sum.tolist())}
        return {"count": float(len(labels))} | each

    def score(self, sums: Mapping[str, float]) -> dict[str, float]:
        """R^2 and mean squared error, averaged over the values.

        R^2 is 1 - squared error / squared deviation from the split's mean, as scikit-learn's
        `r2_score` has it; NaN where the labels of a split are all alike.
        """
        values, count = range(self.output.num_outputs), sums["count"]
        error, label, square = (
            np.array([sums[f"{name}_{i}"] for i in values]) for name in ("error", "label", "square")
        )
        deviation = square - label**2 / count
        deviation[deviation <= _ROUNDING * square] = np.nan
        return {"r2": float(np.mean(1 - error / deviation)), "mse": float(np.mean(error) / count)}

    def chance(self, metric: str) -> float | None:
        """R^2 of the mean, 0; None for the squared error, which depends on the data."""
        return 0.0 if metric == "r2" else None
