"""Helpers of networks for token sequences: padding, positions, readout."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainers.tasks import InputSpec


def real_positions(tokens: Tensor, input: InputSpec) -> Tensor | None:
    """Mask (batch, time) of the positions that are not padding; None if the task has no padding."""
    return None if input.padding is None else tokens != input.padding


def last_real(features: Tensor, real: Tensor | None) -> Tensor:
    """Features (batch, width) at each sequence's last real position, of (batch, time, width)."""
    if real is None:
        return features[:, -1]
    last = (real * torch.arange(real.shape[1], device=real.device)).argmax(1)
    return features[torch.arange(len(features), device=features.device), last]


def mean_over_real(features: Tensor, real: Tensor | None) -> Tensor:
    """Mean (batch, width) of features (batch, time, width) over the real positions."""
    if real is None:
        return features.mean(1)
    weights = real[..., None].to(features.dtype)
    return (features * weights).sum(1) / weights.sum(1).clamp(min=1)


def sinusoids(time: int, width: int) -> Tensor:
    """Sinusoidal position embeddings (time, width) (Vaswani et al. 2017, section 3.5)."""
    frequencies = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angles = torch.arange(time)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width]
