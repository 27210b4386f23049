"""Training batches: batch k is a function of the streams and k, so a resumed run sees the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from trainers.condition import TrainSettings
from trainers.streams import Streams
from trainers.tasks import Task

#: Examples of one forward pass outside training; fixed, because it decides the last bits.
FORWARD_BATCH = 500


class Batch(NamedTuple):
    """Inputs (B, *shape), labels, and the examples' indices (B,); None where data is streamed."""

    inputs: Tensor
    labels: Tensor
    examples: Tensor | None


class Batches:
    """The training batches of one replicate, by step.

    An epoch is a fresh permutation, cut into batches that differ in size by one example at most:
    no straggler of a few examples enters batch norm or a distance.
    """

    def __init__(
        self, task: Task, settings: TrainSettings, streams: Streams, device: torch.device
    ) -> None:
        self._task, self._settings, self._streams = task, settings, streams
        self._device = device
        self._epoch: tuple[int, tuple[Tensor, ...]] = (-1, ())

    def __getitem__(self, step: int) -> Batch:
        if self._task.num_train is None:
            generator = self._streams.generator("data", step)
            split = self._task.sample(self._settings.batch_size, generator)
            return Batch(split.inputs.to(self._device), split.labels.to(self._device), None)
        epoch, position = divmod(step, self._settings.epoch_steps(self._task.num_train))
        index = self._order(epoch)[position]
        inputs, labels = self._task.train
        return Batch(inputs[index].to(self._device), labels[index].to(self._device), index)

    def _order(self, epoch: int) -> tuple[Tensor, ...]:
        if self._epoch[0] != epoch:
            num_train = self._task.num_train
            assert num_train is not None
            order = torch.randperm(num_train, generator=self._streams.generator("data", epoch))
            self._epoch = epoch, order.tensor_split(self._settings.epoch_steps(num_train))
        return self._epoch[1]


def chunks(inputs: Tensor, device: torch.device) -> Iterator[Tensor]:
    """Inputs in their order, `FORWARD_BATCH` examples at a time."""
    for part in torch.split(inputs, FORWARD_BATCH):
        yield part.to(device)
