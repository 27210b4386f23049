"""Training batches: batch k is a function of the streams and k, so resumed runs get the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from trainers.data.lazy import Feed, Job, LazyInputs, made_ahead
from trainers.runtime.devices import copied, moved
from trainers.runtime.streams import Streams
from trainers.tasks import InputSpec, Task

_AUGMENTATION, _GUIDE_AUGMENTATION = "augmentation", "guide augmentation"


class BatchSettings(Protocol):
    """The settings of a run that decide its batches."""

    @property
    def batch_size(self) -> int:
        """Number of examples in a batch, over all workers."""

    def epoch_steps(self, num_train: int) -> int:
        """Number of batches in an epoch of `num_train` examples."""


class Batch(NamedTuple):
    """Inputs `(B, *shape)`, labels as in `Split`, and the indices (B,) of the examples.

    `examples` is None for streamed data and noise. `number` counts the run's training batches; None
    for other batches. `augmented_for_guide` `(B, *shape)` are the guide inputs if they are another
    augmentation of the examples.
    """

    inputs: Tensor
    labels: Tensor
    examples: Tensor | None
    number: int | None = None
    augmented_for_guide: Tensor | None = None

    @property
    def guide_inputs(self) -> Tensor:
        """The guide's inputs `(B, *shape)`."""
        return self.inputs if self.augmented_for_guide is None else self.augmented_for_guide


class Batches:
    """The batches of one replicate by step, drawn from one of its streams (`data`: training).

    An epoch is a new permutation, cut into batches that differ in size by one example at most: no
    small last batch enters batch norm or a distance. Augmentation is a function of stream, epoch
    and example; with `augment_guide_separately` the guide has another augmentation than the target.
    Lazy inputs are made ahead by `loaders` processes, until `close`.
    """

    def __init__(
        self,
        task: Task,
        settings: BatchSettings,
        streams: Streams,
        device: torch.device,
        stream: str = "data",
        *,
        augment_guide_separately: bool = False,
        loaders: int = 0,
    ) -> None:
        self._task, self._settings, self._streams = task, settings, streams
        self._device, self._stream, self._augment_guide_separately = (
            device,
            stream,
            augment_guide_separately,
        )
        self._epoch: tuple[int, tuple[Tensor, ...]] = (-1, ())
        self._loaders = loaders
        self._feed: Feed | None = None

    def __getitem__(self, step: int) -> Batch:
        number = step if self._stream == "data" else None
        if self._task.num_train is None:
            generator = self._streams.generator(self._stream, step)
            inputs, labels = self._task.sample(self._settings.batch_size, generator)
            return Batch(moved(inputs, self._device), moved(labels, self._device), None, number)
        epoch, chosen = self._chosen(step)
        labels = moved(self._task.train.labels[chosen], self._device)
        lazy = self._task.train.lazy
        if lazy is not None:
            made = self._made(lazy, step)
            separate = self._augment_guide_separately
            inputs, guide_inputs = made.tensor_split(2) if separate else (made, None)
        else:
            inputs = self._inputs(chosen, epoch, _AUGMENTATION)
            guide_inputs = None
            if self._augment_guide_separately:
                guide_inputs = self._inputs(chosen, epoch, _GUIDE_AUGMENTATION)
        return Batch(inputs, labels, moved(chosen, self._device), number, guide_inputs)

    def close(self) -> None:
        """End the processes that make inputs ahead."""
        if self._feed is not None:
            self._feed.close()

    def _inputs(self, chosen: Tensor, epoch: int, stream: str) -> Tensor:
        inputs = self._task.train.inputs[chosen]
        if self._task.augmented:
            draws = (torch.Generator().manual_seed(s) for s in self._seeds(chosen, epoch, stream))
            pairs = zip(inputs, draws, strict=True)
            inputs = torch.stack([self._task.augment(*pair) for pair in pairs])
        return moved(inputs, self._device)

    def _made(self, lazy: LazyInputs, step: int) -> Tensor:
        if self._feed is None:
            pin = self._device.type == "cuda"
            self._feed = Feed(lazy, self._jobs, self._loaders, pin=pin)
        return moved(self._feed[step], self._device)

    def _jobs(self, step: int) -> list[Job]:
        """Jobs of the inputs of a step, followed by those of separate guide inputs, if any."""
        epoch, chosen = self._chosen(step)
        examples = chosen.tolist()
        if not self._task.augmented:
            return [(example, None) for example in examples]
        jobs: list[Job] = list(
            zip(examples, self._seeds(chosen, epoch, _AUGMENTATION), strict=True)
        )
        if self._augment_guide_separately:
            seeds = self._seeds(chosen, epoch, _GUIDE_AUGMENTATION)
            jobs += zip(examples, seeds, strict=True)
        return jobs

    def _seeds(self, chosen: Tensor, epoch: int, stream: str) -> list[int]:
        assert self._task.num_train is not None
        first = epoch * self._task.num_train
        name = stream if self._stream == "data" else f"{self._stream} {stream}"
        return [self._streams.seed(name, first + example) for example in chosen.tolist()]

    def _chosen(self, step: int) -> tuple[int, Tensor]:
        """The epoch of a step, and the indices (B,) of its examples."""
        assert self._task.num_train is not None
        epoch, position = divmod(step, self._settings.epoch_steps(self._task.num_train))
        return epoch, self._order(epoch)[position]

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
    """Gaussian inputs `(num_examples, *shape)`; tokens are drawn uniformly, padding excepted."""
    shape = (num_examples, *spec.shape)
    if spec.kind == "tokens":
        assert spec.vocabulary is not None
        if spec.padding is None:
            return torch.randint(spec.vocabulary, shape, generator=generator)
        tokens = torch.randint(spec.vocabulary - 1, shape, generator=generator)
        return tokens + (tokens >= spec.padding)
    return torch.randn(shape, generator=generator)


def random_labels(task: Task, num_examples: int, generator: torch.Generator) -> Tensor:
    """Labels for `num_examples`, drawn uniformly from the classes; values are Gaussian."""
    if task.output.num_classes is None:
        return torch.randn(num_examples, task.output.num_outputs, generator=generator)
    time = task.input.shape[:1] if task.output.per_position else ()
    return torch.randint(task.output.num_classes, (num_examples, *time), generator=generator)


def mask_of(task: Task, inputs: Tensor) -> Tensor | None:
    """Mask (batch, time) of the positions that count; None if all do, or inputs have none."""
    return task.mask(copied(inputs, inputs.device)) if task.input.kind == "tokens" else None


def chunks(inputs: Tensor | LazyInputs, size: int, *, loaders: int = 0) -> Iterator[Tensor]:
    """Inputs in order, `size` at a time; lazy ones are made ahead by `loaders` processes."""
    examples = range(len(inputs))
    places = [slice(at, at + size) for at in examples[::size]]
    if isinstance(inputs, LazyInputs):
        jobs: list[list[Job]] = [[(index, None) for index in examples[p]] for p in places]
        return made_ahead(inputs, jobs, loaders)
    return (inputs[place] for place in places)
