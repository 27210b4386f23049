"""Rival `structured`: whether beginning as a convolutional network would do, without a guide."""

from __future__ import annotations

import torch

from trainers.architectures import Network
from trainers.errors import UserError
from trainers.rivals import _dense
from trainers.rivals.base import Rival, register
from trainers.tasks import Task


@register("structured")
class Structured(Rival):
    """A fully connected network that begins as a convolutional one.

    The first `layers` hidden layers (None: all) get the matrix of a random convolution, of the side
    `kernel`, on the task's image or signal. Nothing ties the weights afterwards. d'Ascoli et al.
    2019 (arXiv 1906.06766, read in its introduction) so embed a convolutional network in a fully
    connected one, at the beginning or in the course of its training.

    Deviations: only the beginning. The width of a layer is the target's own: a convolution has the
    smallest stride that leaves room for `channels` channels, and as many channels as there is room
    for; units beyond these keep their own start. Norms and the output layer do too.
    """

    def __init__(self, *, kernel: int = 3, channels: int = 4, layers: int | None = 1) -> None:
        if min(kernel, channels, 1 if layers is None else layers) < 1:
            raise UserError(
                f"rival structured: kernel {kernel}, channels {channels}, layers {layers}; "
                "allowed: 1 or more, and for layers none, which is all"
            )
        self._kernel, self._channels, self._layers = kernel, channels, layers

    def check(self, network: Network, task: Task) -> None:
        """Raise UserError unless the network is fully connected, and wide enough."""
        self._convolutions(network, task)

    @torch.no_grad()
    def initialise(self, network: Network, task: Task) -> None:
        """Draw the convolutions, from the first layer on."""
        for dense in self._convolutions(network, task):
            rows = len(dense.bias)
            dense.layer.weight[:rows] = _dense.widened(dense)
            if dense.layer.bias is not None:
                dense.layer.bias[:rows] = dense.bias

    def _convolutions(self, network: Network, task: Task) -> list[_dense.Dense]:
        layers = _dense.hidden_layers("structured", network, task)
        if self._layers is not None and self._layers > len(layers):
            raise UserError(
                f"rival structured: layers is {self._layers}; allowed here: 1 to {len(layers)}, "
                "and none, which is all"
            )
        chosen = layers[: self._layers]
        return list(
            _dense.convolutions(
                "structured", chosen, task, kernel=self._kernel, channels=self._channels
            )
        )
