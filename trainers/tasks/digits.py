"""Scikit-learn's digits (Alpaydin and Kaynak 1998, UCI): handwritten, 8x8 pixels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from trainers.errors import UserError
from trainers.tasks import Classification, InputSpec, OutputSpec, Split, register

SIDE = 8
NUM_TRAIN, NUM_VALIDATION = 1297, 100
#: The split that all seeds share, that of `translated_digits`.
DATA_SEED = 0


@register("digits", version=1)
class Digits(Classification):
    """Handwritten digits: 1297 training, 100 validation and 400 test images of 8x8, 10 classes."""

    redraws = True

    def __init__(self, *, train_size: int = NUM_TRAIN) -> None:
        if not 1 <= train_size <= NUM_TRAIN:
            raise UserError(f"task digits: train_size is {train_size}; allowed: 1 to {NUM_TRAIN}")
        self.input = InputSpec(kind="image", shape=(1, SIDE, SIDE))
        self.output = OutputSpec(num_classes=10)
        self.num_train = train_size

    def load(self) -> Mapping[str, Split]:
        """Splits of float32 images (N, 1, 8, 8), standardised by all 1297 images to train on."""
        from sklearn.datasets import load_digits

        digits, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(self.draw_seed(DATA_SEED)).permutation(len(digits))
        training = digits[order[:NUM_TRAIN]]
        digits = (digits - training.mean()) / training.std()
        inputs = torch.from_numpy(digits).float().view(-1, 1, SIDE, SIDE)
        parts = np.split(order, [NUM_TRAIN, NUM_TRAIN + NUM_VALIDATION])
        parts[0] = parts[0][: self.num_train]
        return {
            name: Split(inputs[part], torch.from_numpy(labels[part]).long())
            for name, part in zip(("train", "validation", "test"), parts, strict=True)
        }
