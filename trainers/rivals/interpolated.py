"""Rival `interpolated`: whether a part of another architecture's weights would do (I-MLP)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from trainers.architectures import Network
from trainers.errors import UserError
from trainers.rivals import _dense
from trainers.rivals.base import Constraint, Rival, register
from trainers.tasks import Task

Prior = Literal["convolution", "mixer"]
Decay = Literal["none", "linear", "cosine"]

#: The control: entries of each fixed matrix at random places, so that none of its geometry stays.
PERMUTED = "permuted"


@register("interpolated")
class Interpolated(Rival):
    """Hidden layers whose weights are (1 - w) x learned + w x fixed, those of a prior model.

    Wu et al. 2024, "Interpolated-MLPs" (arXiv 2410.09655, read in its abstract and in summaries).
    `weight` is w; with a `decay` it falls to 0 at the end of training, on a line or half a cosine.
    The prior is a `convolution` of the side `kernel`, or a `mixer`, whose first layer sees patches
    of that side, and whose others alternate over patches and channels; each as a dense matrix on
    the task's image or signal. Control `permuted`: the same fixed numbers at random places.

    Deviations: the prior model is as initialised, drawn anew for each seed, where the paper fixes
    weights of a trained one. Layers have the target's own widths (see `structured`; `channels` is
    for the convolution); units beyond the prior's are learned alone. Biases, norms and the output
    layer are learned. A mixer's hidden units, norms and skips have no counterpart here.
    """

    controls: ClassVar[tuple[str, ...]] = (PERMUTED,)

    def __init__(
        self,
        *,
        weight: float = 0.5,
        prior: Prior = "convolution",
        decay: Decay = "none",
        kernel: int = 3,
        channels: int = 4,
    ) -> None:
        if not 0 < weight <= 1 or min(kernel, channels) < 1:
            raise UserError(
                f"rival interpolated: weight {weight}, kernel {kernel}, channels {channels}; "
                "allowed: weight above 0 and up to 1, the others 1 or more"
            )
        if weight == 1 and decay == "none":
            raise UserError(
                "rival interpolated: weight is 1 and decay none, which leaves nothing to learn; "
                "allowed: weight below 1, or a decay"
            )
        self._weight, self._prior, self._decay = weight, prior, decay
        self._kernel, self._channels = kernel, channels

    def check(self, network: Network, task: Task) -> None:
        """Raise UserError unless the network is fully connected, and wide enough."""
        self._fixed(network, task)

    @torch.no_grad()
    def constrain(self, network: Network, task: Task, control: str) -> Interpolation:
        """Fix the prior's weights, and leave the learned ones as initialised."""
        found = self._fixed(network, task)
        parts = []
        for dense in found:
            fixed = dense.weight
            if control == PERMUTED:
                fixed = fixed.flatten()[torch.randperm(fixed.numel())].view_as(fixed)
            blend = Blend(fixed.to(dense.layer.weight))
            parametrize.register_parametrization(dense.layer, "weight", blend)
            parts.append((dense.layer, blend))
        constraint = Interpolation(parts, self._weight, self._decay)
        constraint.at(0.0)
        return constraint

    def _fixed(self, network: Network, task: Task) -> list[_dense.Dense]:
        name = "interpolated"
        layers = _dense.hidden_layers(name, network, task)
        if self._prior == "mixer":
            return list(_dense.mixers(name, layers, task, patch=self._kernel))
        return list(
            _dense.convolutions(name, layers, task, kernel=self._kernel, channels=self._channels)
        )


class Blend(nn.Module):
    """The first rows and columns of a weight, between learned and `fixed` (rows, columns)."""

    fixed: Tensor
    share: Tensor

    def __init__(self, fixed: Tensor) -> None:
        super().__init__()
        # Both follow from the seed and the step, so that no checkpoint holds them.
        self.register_buffer("fixed", fixed, persistent=False)
        self.register_buffer("share", torch.zeros((), dtype=fixed.dtype), persistent=False)

    def forward(self, learned: Tensor) -> Tensor:
        """The weight (out, in) of the learned one."""
        rows, columns = self.fixed.shape
        fixed = nn.functional.pad(self.fixed, (0, learned.shape[1] - columns))
        return torch.cat([torch.lerp(learned[:rows], fixed, self.share), learned[rows:]])


class Interpolation(Constraint):
    """Layers with their blends, and the share of the fixed weights in the course of training."""

    def __init__(
        self, parts: Sequence[tuple[nn.Module, Blend]], weight: float, decay: Decay
    ) -> None:
        self._parts, self._weight, self._decay = parts, weight, decay

    def share(self, done: float) -> float:
        """The share of the fixed weights when a fraction `done` of the training is done."""
        if self._decay == "linear":
            return self._weight * (1 - done)
        if self._decay == "cosine":
            return self._weight * 0.5 * (1 + math.cos(math.pi * done))
        return self._weight

    def at(self, done: float) -> None:
        """Set the share of the fixed weights."""
        for _, blend in self._parts:
            blend.share.fill_(self.share(done))

    def release(self) -> None:
        """Leave each layer with the weight that it has now."""
        for layer, _ in self._parts:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
