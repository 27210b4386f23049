"""Guides: an architecture in a state, frozen, and the features it shows the target.

Controls replace a guide to see what in it matters: `shuffled` asks whether the right example
does, `input` whether its architecture does or only the geometry of the data, `noise` whether its
input does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from trainers import architectures, taps
from trainers.architectures import Network
from trainers.batches import Batch, chunks
from trainers.condition import Control, Guide
from trainers.streams import Streams
from trainers.tasks import InputSpec, Task

#: Features of a guide on its training data are kept in memory up to this size, else the guide runs
#: in every step. Where data is fixed this is part of the definition of a result: the two differ in
#: their last bits.
CACHE_BYTES = 2**30
CALIBRATION_BATCHES, CALIBRATION_BATCH = 20, 250

Features = Mapping[str, Tensor]


class FrozenGuide:
    """A guide network in evaluation mode without gradients, on `device`."""

    def __init__(self, network: Network, task: Task, device: torch.device) -> None:
        self.network = network.to(device).eval().requires_grad_(requires_grad=False)
        self.task, self.device = task, device
        self._streamed: dict[tuple[bytes, int], StreamedFeatures] = {}

    @property
    def taps(self) -> tuple[str, ...]:
        """The guide's taps in depth order."""
        return self.network.taps

    @torch.inference_mode()
    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Tap outputs (batch, ...) for inputs (batch, *shape)."""
        with taps.record(self.network, self.taps) as outputs:
            self.network(inputs.to(self.device))
            return dict(outputs)

    def forward_all(self, inputs: Tensor) -> dict[str, Tensor]:
        """Tap outputs (N, ...) for any number of inputs, computed in pieces of fixed size."""
        parts = [self.forward(part) for part in chunks(inputs, self.device)]
        return {tap: torch.cat([part[tap] for part in parts]) for tap in self.taps}

    @cached_property
    def train_features(self) -> dict[str, Tensor] | None:
        """Tap outputs for all training inputs; None where streamed, or above `CACHE_BYTES`."""
        if self.task.num_train is None:
            return None
        if self._example_bytes * self.task.num_train > CACHE_BYTES:
            return None
        return self.forward_all(self.task.train.inputs)

    def streamed_features(
        self, streams: Streams, batch_size: int, num_steps: int
    ) -> StreamedFeatures | None:
        """A memory of streamed batches: the same for the same streams and batch size.

        None where data is fixed, or where `num_steps` steps do not fit in `CACHE_BYTES` beside
        what this guide keeps of other streams.
        """
        if self.task.num_train is not None:
            return None
        key = streams.key, batch_size
        step_bytes = self._example_bytes * batch_size
        others = sum(kept.nbytes for other, kept in self._streamed.items() if other != key)
        if others + step_bytes * num_steps > CACHE_BYTES:
            return None
        kept = self._streamed.setdefault(key, StreamedFeatures(step_bytes))
        kept.num_steps = max(kept.num_steps, num_steps)
        return kept

    @cached_property
    def _example_bytes(self) -> int:
        probe = self.forward(self.task.validation.inputs[:2])
        return sum(output[0].nbytes for output in probe.values())


class StreamedFeatures:
    """A guide's features of streamed batches by step, shared by runs that meet the same batches.

    Memory for all steps is taken at once: taken step by step it lies scattered among tensors that
    are soon freed, which was half as much again, and slower by a quarter of a forward.
    """

    def __init__(self, step_bytes: int) -> None:
        self.num_steps = 0
        self._step_bytes = step_bytes
        self._outputs: list[dict[str, Tensor]] = []
        self._filled: set[int] = set()

    @property
    def nbytes(self) -> int:
        """Size when all steps are filled."""
        return self._step_bytes * self.num_steps

    @torch.inference_mode()
    def at(self, step: int, forward: Callable[[], Features]) -> Features:
        """Tap outputs (batch, ...) of the batch of a step, from `forward` where it is new."""
        if step not in self._filled:
            features = forward()
            while len(self._outputs) < self.num_steps:
                like = {tap: torch.empty_like(output) for tap, output in features.items()}
                self._outputs.append(like)
            for tap, output in features.items():
                self._outputs[step][tap].copy_(output)
            self._filled.add(step)
        return self._outputs[step]


def untrained(guide: Guide, task: Task, streams: Streams) -> Network:
    """An untrained guide; its batch norm calibrated on training data or as initialised (`eval`)."""
    torch.manual_seed(streams.seed("init"))
    network = architectures.build(guide.architecture, task.input, task.output)
    if guide.batch_norm == "calibrated":
        calibrate(network, task, streams)
    return network


@torch.no_grad()
def calibrate(network: Network, task: Task, streams: Streams) -> None:
    """Set batch-norm running statistics to their average over training batches, and freeze them.

    In PyTorch's fresh state (mean 0, variance 1) a network computes other features than its
    architecture does on data; batch statistics would couple examples.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for inputs in _calibration_inputs(task, streams):
        network(inputs)
    network.eval()


def _calibration_inputs(task: Task, streams: Streams) -> list[Tensor]:
    if task.num_train is None:
        return [
            task.sample(CALIBRATION_BATCH, streams.generator("calibration", index)).inputs
            for index in range(CALIBRATION_BATCHES)
        ]
    order = torch.randperm(task.num_train, generator=streams.generator("calibration"))
    count = max(1, min(CALIBRATION_BATCHES, task.num_train // CALIBRATION_BATCH))
    chosen = order[: count * CALIBRATION_BATCH]
    return [task.train.inputs[index] for index in chosen.tensor_split(count)]


class FeatureSource(Protocol):
    """Gives the features that guide one training step."""

    #: Names of the guide taps in depth order.
    taps: tuple[str, ...]

    def features(self, batch: Batch, step: int) -> Features:
        """Guide tap -> output (batch, ...) for the examples of a run's batch `step`."""

    def evaluate(self, inputs: Tensor) -> Features:
        """Guide tap -> output for inputs that are not training data, without shuffling."""


class GuideSource:
    """The guide itself: features kept for all training examples, or one forward a step.

    Where data is streamed, they are in `streamed`, if given, from the first run that met the batch.
    """

    def __init__(self, guide: FrozenGuide, streamed: StreamedFeatures | None = None) -> None:
        self._guide, self.taps = guide, guide.taps
        self._streamed = streamed

    def features(self, batch: Batch, step: int) -> Features:
        """Features of the batch's examples."""
        kept = self._guide.train_features
        if kept is not None and batch.examples is not None:
            return {tap: output[batch.examples] for tap, output in kept.items()}
        if self._streamed is None:
            return self._guide.forward(batch.inputs)
        return self._streamed.at(step, lambda: self._guide.forward(batch.inputs))

    def evaluate(self, inputs: Tensor) -> Features:
        """The guide's features of `inputs`."""
        return self._guide.forward(inputs)


class ShuffledSource(GuideSource):
    """Control `shuffled`: the guide's features, permuted over the examples of each batch."""

    def __init__(
        self,
        guide: FrozenGuide,
        streams: Streams,
        streamed: StreamedFeatures | None = None,
    ) -> None:
        super().__init__(guide, streamed)
        self._streams = streams

    def features(self, batch: Batch, step: int) -> Features:
        """Features of the batch in an order that is drawn afresh in each step."""
        order = torch.randperm(
            len(batch.inputs), generator=self._streams.generator("control", step)
        )
        if batch.examples is None:
            # Not the features of permuted inputs: these are shared with runs that do not shuffle.
            return {tap: output[order] for tap, output in super().features(batch, step).items()}
        return super().features(
            Batch(batch.inputs[order], batch.labels, batch.examples[order]), step
        )


class NoiseSource(GuideSource):
    """Control `noise`: the guide sees one fixed Gaussian input per example.

    Where inputs are tokens it sees tokens drawn uniformly; where data is streamed, each example
    comes once and so does its noise.
    """

    def __init__(self, guide: FrozenGuide, streams: Streams) -> None:
        super().__init__(guide)
        self._streams, self._spec = streams, guide.task.input
        self._fixed: dict[str, Tensor] | None = None
        if guide.train_features is not None:
            assert guide.task.num_train is not None
            self._fixed = guide.forward_all(self._draw(guide.task.num_train, 0))

    def features(self, batch: Batch, step: int) -> Features:
        """Features of the noise that belongs to the batch's examples."""
        if self._fixed is not None:
            assert batch.examples is not None
            return {tap: output[batch.examples] for tap, output in self._fixed.items()}
        if batch.examples is None:
            return self._guide.forward(self._draw(len(batch.inputs), step))
        noise = [self._draw(1, example) for example in batch.examples.tolist()]
        return self._guide.forward(torch.cat(noise))

    def _draw(self, num_examples: int, index: int) -> Tensor:
        generator = self._streams.generator("control", index)
        shape = (num_examples, *self._spec.shape)
        if self._spec.kind == "tokens":
            assert self._spec.vocabulary is not None
            return torch.randint(self._spec.vocabulary, shape, generator=generator)
        return torch.randn(shape, generator=generator)


class InputSource:
    """Control `input`: each tap replaced by the guide's own input.

    Pixels or signal as they are; tokens as one-hot token beside one-hot position.
    """

    def __init__(self, guide_taps: tuple[str, ...], spec: InputSpec) -> None:
        self.taps, self._spec = guide_taps, spec

    def features(self, batch: Batch, step: int) -> Features:  # noqa: ARG002
        """The same input features at every tap."""
        return self.evaluate(batch.inputs)

    def evaluate(self, inputs: Tensor) -> Features:
        """The same input features at every tap."""
        return dict.fromkeys(self.taps, geometry(inputs, self._spec))


def geometry(inputs: Tensor, spec: InputSpec) -> Tensor:
    """Inputs as features: (batch, values), or (batch, time, vocabulary + time) for tokens."""
    if spec.kind != "tokens":
        return inputs.flatten(1)
    assert spec.vocabulary is not None
    tokens = functional.one_hot(inputs, spec.vocabulary).float()
    time = inputs.shape[1]
    position = torch.eye(time, device=inputs.device).expand(len(inputs), time, time)
    return torch.cat([tokens, position], -1)


def source_for(
    control: Control,
    task: Task,
    streams: Streams,
    guide: FrozenGuide | None,
    guide_taps: tuple[str, ...],
    streamed: StreamedFeatures | None = None,
) -> FeatureSource:
    """The features that guide a target under a control (`none`: the guide's own).

    `streamed`: the guide's `streamed_features` for this target, None to run it in every step.
    """
    if control == "input":
        return InputSource(guide_taps, task.input)
    assert guide is not None
    if control == "shuffled":
        return ShuffledSource(guide, streams, streamed)
    return NoiseSource(guide, streams) if control == "noise" else GuideSource(guide, streamed)
