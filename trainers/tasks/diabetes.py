"""Scikit-learn's diabetes data (Efron et al. 2004, Least angle regression): one value of ten."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from trainers.errors import UserError
from trainers.tasks import InputSpec, OutputSpec, Regression, Split, register

NUM_TRAIN, NUM_VALIDATION, NUM_FEATURES = 292, 50, 10
#: The split that all seeds share.
DATA_SEED = 0


@register("diabetes", version=1)
class Diabetes(Regression):
    """Progression of diabetes in a year: 292 training, 50 validation and 100 test patients.

    The ten measurements (age, sex, body mass index, blood pressure, six of blood serum) are a
    signal of one channel in scikit-learn's order, which means nothing. Measurements and progression
    are standardised by mean and deviation of the 292 patients, so the error has these deviations
    for its unit.
    """

    redraws = True

    def __init__(self, *, train_size: int = NUM_TRAIN) -> None:
        if not 1 <= train_size <= NUM_TRAIN:
            raise UserError(f"task diabetes: train_size is {train_size}; allowed: 1 to {NUM_TRAIN}")
        self.input = InputSpec(kind="signal", shape=(1, NUM_FEATURES))
        self.output = OutputSpec(num_values=1)
        self.num_train = train_size

    def load(self) -> Mapping[str, Split]:
        """Splits of float32 signals (N, 1, 10) and labels (N, 1)."""
        from sklearn.datasets import load_diabetes

        measured, progression = load_diabetes(return_X_y=True, scaled=False)
        table = np.column_stack([measured, progression])
        order = np.random.default_rng(self.draw_seed(DATA_SEED)).permutation(len(table))
        training = table[order[:NUM_TRAIN]]
        table = (table - training.mean(0)) / training.std(0)
        values = torch.from_numpy(table).float()
        inputs, labels = values[:, None, :NUM_FEATURES], values[:, NUM_FEATURES:]
        parts = np.split(order, [NUM_TRAIN, NUM_TRAIN + NUM_VALIDATION])
        parts[0] = parts[0][: self.num_train]
        return {
            name: Split(inputs[part], labels[part])
            for name, part in zip(("train", "validation", "test"), parts, strict=True)
        }
