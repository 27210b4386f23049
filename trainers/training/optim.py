"""Optimisers and learning rates."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from trainers.conditions.training import TrainSettings


def build(parameters: Iterable[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """The optimiser of `settings`: SGD (momentum .9), Adam or AdamW."""
    # Fused, because on small networks the separate operations of an update cost 1/8 of a step.
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=settings.lr,
            momentum=0.9,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    adam = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return adam(parameters, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)


def lr_factor(settings: TrainSettings, done: float) -> float:
    """Learning rate as a fraction of `lr` when a fraction `done` of the steps is done."""
    if settings.lr_schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    if settings.lr_schedule == "step":
        assert settings.lr_step is not None
        # The margin is for fractions that are whole numbers of steps, but for rounding.
        return 0.1 ** math.floor(done / settings.lr_step + 1e-9)
    return 1.0 - done if settings.lr_schedule == "linear" else 1.0
