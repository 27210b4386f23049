"""Training batches: batch k is a function of the streams and k, so a resumed run sees the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from trainers.condition import TrainSettings
from trainers.streams import Streams
from trainers.tasks import InputSpec, Task


class Batch(NamedTuple):
    """Inputs (B, *shape), labels, and the examples' indices (B,); None where data is streamed.

    `number` is its place among the run's training batches, None for one that is none of them;
    `shown` what the guide sees of the examples, where that is another augmentation.
    """

    inputs: Tensor
    labels: Tensor
    examples: Tensor | None
    number: int | None = None
    shown: Tensor | None = None

    @property
    def seen(self) -> Tensor:
        """What the guide sees (B, *shape)."""
        return self.inputs if self.shown is None else self.shown


class Batches:
    """The batches of one replicate by step, drawn from one of its streams (`data`: training).

    An epoch is a fresh permutation, cut into batches that differ in size by one example at most:
    no straggler of a few examples enters batch norm or a distance. Augmentation is a function of
    stream, epoch and example; with `apart` the guide is shown another one than the target.
    """

    def __init__(
        self,
        task: Task,
        settings: TrainSettings,
        streams: Streams,
        device: torch.device,
        stream: str = "data",
        *,
        apart: bool = False,
    ) -> None:
        self._task, self._settings, self._streams = task, settings, streams
        self._device, self._stream, self._apart = device, stream, apart
        self._epoch: tuple[int, tuple[Tensor, ...]] = (-1, ())

    def __getitem__(self, step: int) -> Batch:
        number = step if self._stream == "data" else None
        if self._task.num_train is None:
            generator = self._streams.generator(self._stream, step)
            inputs, labels = self._task.sample(self._settings.batch_size, generator)
            return Batch(self._moved(inputs), self._moved(labels), None, number)
        epoch, position = divmod(step, self._settings.epoch_steps(self._task.num_train))
        chosen = self._order(epoch)[position]
        labels = self._moved(self._task.train.labels[chosen])
        inputs = self._inputs(chosen, epoch, "augmentation")
        shown = self._inputs(chosen, epoch, "guide augmentation") if self._apart else None
        return Batch(inputs, labels, chosen, number, shown)

    def _inputs(self, chosen: Tensor, epoch: int, stream: str) -> Tensor:
        inputs = self._task.train.inputs[chosen]
        if self._task.augmented:
            assert self._task.num_train is not None
            first = epoch * self._task.num_train
            name = stream if self._stream == "data" else f"{self._stream} {stream}"
            draws = (self._streams.generator(name, first + i) for i in chosen.tolist())
            pairs = zip(inputs, draws, strict=True)
            inputs = torch.stack([self._task.augment(*pair) for pair in pairs])
        return self._moved(inputs)

    def _moved(self, tensor: Tensor) -> Tensor:
        if self._device.type != "cuda":
            return tensor
        # From pinned memory the copy runs beside the step before.
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def _order(self, epoch: int) -> tuple[Tensor, ...]:
        if self._epoch[0] != epoch:
            num_train = self._task.num_train
            assert num_train is not None
            order = torch.randperm(
                num_train, generator=self._streams.generator(self._stream, epoch)
            )
            self._epoch = epoch, order.tensor_split(self._settings.epoch_steps(num_train))
        return self._epoch[1]


def noise(spec: InputSpec, num_examples: int, generator: torch.Generator) -> Tensor:
    """Gaussian inputs (num_examples, *shape); tokens are drawn uniformly, padding excepted."""
    shape = (num_examples, *spec.shape)
    if spec.kind == "tokens":
        assert spec.vocabulary is not None
        if spec.padding is None:
            return torch.randint(spec.vocabulary, shape, generator=generator)
        tokens = torch.randint(spec.vocabulary - 1, shape, generator=generator)
        return tokens + (tokens >= spec.padding)
    return torch.randn(shape, generator=generator)


def chunks(inputs: Tensor, device: torch.device, size: int) -> Iterator[Tensor]:
    """Inputs in their order, `size` examples at a time."""
    for part in torch.split(inputs, size):
        yield part.to(device)
