"""Rival `orthogonal`: whether a good start of the target alone would do."""

from __future__ import annotations

import math

from torch import nn

from trainers.architectures import Network
from trainers.errors import UserError
from trainers.rivals.base import Rival, register
from trainers.tasks import Task

_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d)
#: Modules with matrices of other shapes, one for several gates or projections.
_OTHERS = (nn.RNNBase, nn.MultiheadAttention)


@register("orthogonal")
class Orthogonal(Rival):
    """Orthogonal weights of all linear and convolutional layers.

    (Saxe et al. 2014, arXiv 1312.6120.) `gain` is by default sqrt(2), which keeps the size of
    signals through ReLUs (He et al. 2015, arXiv 1502.01852). Kernels are orthogonal as matrices
    (out channels, in channels x size). Biases, embeddings and normalisation keep their start. The
    paper's gain is 1, for linear networks.
    """

    def __init__(self, *, gain: float = math.sqrt(2)) -> None:
        if not 0 < gain < math.inf:
            raise UserError(f"rival orthogonal: gain is {gain}; allowed: finite and above 0")
        self._gain = gain

    def check(self, network: Network, task: Task) -> None:  # noqa: ARG002
        """Raise UserError if it has no linear or convolutional layer, or other matrices too."""
        if any(isinstance(module, _OTHERS) for module in network.modules()):
            raise UserError(
                "rival orthogonal takes networks of linear and convolutional layers; this one has "
                "recurrent or attention weights, which would stay as they are (recurrent networks "
                "of this package have an option init: orthogonal)"
            )
        if not any(isinstance(module, _KINDS) for module in network.modules()):
            raise UserError("rival orthogonal takes networks with linear or convolutional layers")

    def initialise(self, network: Network, task: Task) -> None:
        """Draw the weights anew, in the order of the network's modules."""
        self.check(network, task)
        for module in network.modules():
            if isinstance(module, _KINDS):
                nn.init.orthogonal_(module.weight, self._gain)
