"""MNIST-1D (Greydanus and Kobak 2020, arXiv 2011.14439): 40-point signals of ten digit shapes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

from trainers.errors import UserError
from trainers.tasks import InputSpec, OutputSpec, Split, Task, register

NUM_VALIDATION = 500
NUM_MAKE_TRAIN = 4000


@register("mnist1d", version=1)
class MNIST1D(Task):
    """MNIST-1D: 3500 training, 500 validation and 1000 test signals of 40 points, 10 classes."""

    def __init__(self, *, train_size: int = NUM_MAKE_TRAIN - NUM_VALIDATION) -> None:
        available = NUM_MAKE_TRAIN - NUM_VALIDATION
        if not 1 <= train_size <= available:
            raise UserError(f"task mnist1d: train_size is {train_size}; allowed: 1 to {available}")
        self.input = InputSpec(kind="signal", shape=(1, 40))
        self.output = OutputSpec(num_classes=10)
        self.num_train = train_size

    def load(self) -> Mapping[str, Split]:
        """Splits of float32 signals (N, 1, 40), generated offline as published (seed 42)."""
        from mnist1d.data import get_dataset_args, make_dataset

        with _own_generators():
            data = make_dataset(get_dataset_args())
        inputs = torch.from_numpy(data["x"]).float().unsqueeze(1)
        labels = torch.from_numpy(data["y"]).long()
        held_out = Split(inputs[-NUM_VALIDATION:], labels[-NUM_VALIDATION:])
        test = torch.from_numpy(data["x_test"]).float().unsqueeze(1)
        return {
            "train": Split(inputs[: self.num_train], labels[: self.num_train]),
            "validation": held_out,
            "test": Split(test, torch.from_numpy(data["y_test"]).long()),
        }


@contextmanager
def _own_generators() -> Iterator[None]:
    """Restore the caller's global generators of Python and NumPy, which `make_dataset` seeds."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
