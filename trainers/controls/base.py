"""What guides a step: the guide itself, or the control that replaces it.

A control shows what in a guide matters: `shuffled`, whether the right example does; `input`,
whether its architecture does or only the geometry of the data; `noise`, whether its input does;
`self`, whether any frozen network would do (a guide of the target's own architecture); `uniform`,
for distillation, whether a guide that knows nothing would do (label smoothing).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from trainers.architectures.taps import LOGITS
from trainers.conditions.condition import Control
from trainers.guides.cached_features import CachedFeatures, DefaultCache
from trainers.guides.features import Cached, Features, NoCache
from trainers.guides.frozen import FrozenGuide, StreamedFeatures
from trainers.runtime.devices import moved
from trainers.runtime.streams import Streams
from trainers.tasks import InputSpec, Task
from trainers.tasks.batches import Batch, noise

#: Vocabularies above this are projected, to so many dimensions, in the control `input`.
LARGE_VOCABULARY, PROJECTED, PROJECTION_SEED = 1024, 512, 0


class FeatureSource(Protocol):
    """Gives the features that guide one step."""

    #: Names of the guide taps in depth order.
    taps: tuple[str, ...]

    def features(self, batch: Batch, step: int) -> Features:
        """Guide tap -> output (batch, ...) or Gram matrix for the batch of a step."""

    def evaluate(self, inputs: Tensor) -> Mapping[str, Tensor]:
        """Guide tap -> output for inputs that are not training data, without shuffling."""


class GuideSource:
    """The guide itself: what is cached for all training examples, or one forward a step.

    Where data is streamed, they are in `streamed`, if given, from the first run that met the batch.
    """

    def __init__(
        self,
        guide: FrozenGuide,
        streamed: StreamedFeatures | None = None,
        cached: Cached | None = None,
    ) -> None:
        self._guide, self.taps = guide, guide.taps
        self._streamed, self._cached = streamed, cached or DefaultCache(guide)

    def features(self, batch: Batch, step: int) -> Features:  # noqa: ARG002
        """Features of the batch's examples."""
        cached = None if batch.examples is None else self._cached.batch(batch.examples)
        if cached is not None:
            return cached
        return self._run(batch)

    def _run(self, batch: Batch) -> Mapping[str, Tensor]:
        if self._streamed is None or batch.number is None:
            return self._guide.forward_shared(batch.seen)
        return self._streamed.at(batch.number, lambda: self._guide.forward_shared(batch.seen))

    def evaluate(self, inputs: Tensor) -> Mapping[str, Tensor]:
        """The guide's features of `inputs`."""
        return self._guide.evaluate(inputs)


class ShuffledSource(GuideSource):
    """Control `shuffled`: the guide's features, permuted over the examples of each batch."""

    def __init__(
        self,
        guide: FrozenGuide,
        streams: Streams,
        streamed: StreamedFeatures | None = None,
        cached: Cached | None = None,
    ) -> None:
        super().__init__(guide, streamed, cached)
        self._streams = streams

    def features(self, batch: Batch, step: int) -> Features:
        """Features of the batch in an order that is drawn afresh in each step."""
        generator = self._streams.generator("control", step)
        order = moved(torch.randperm(len(batch.inputs), generator=generator), batch.inputs.device)
        if batch.examples is None:
            # Not the features of permuted inputs: these are shared with runs that do not shuffle.
            features = self._run(batch)
            return {tap: output[order] for tap, output in features.items()}
        examples = batch.examples[order]
        shuffled = batch._replace(inputs=batch.seen[order], examples=examples, shown=None)
        return super().features(shuffled, step)


class NoiseSource(GuideSource):
    """Control `noise`: the guide sees one fixed Gaussian input per example.

    Where inputs are tokens it sees tokens drawn uniformly; where data is streamed, each example
    comes once and so does its noise.
    """

    def __init__(self, guide: FrozenGuide, streams: Streams, cached: Cached | None = None) -> None:
        self._streams, self._spec = streams, guide.task.input
        if cached is None and guide.train_features is not None:
            assert guide.task.num_train is not None
            fixed = guide.forward_all(self._draw(guide.task.num_train, 0))
            arrays = {f"{index}": output for index, output in enumerate(fixed.values())}
            cached = CachedFeatures(arrays, guide.taps)
        super().__init__(guide, cached=cached or NoCache())

    def features(self, batch: Batch, step: int) -> Features:
        """Features of the noise that belongs to the batch's examples."""
        if batch.examples is None:
            streamed = self._draw(len(batch.inputs), step)
            return self._guide.forward_shared(moved(streamed, self._guide.device))
        cached = self._cached.batch(batch.examples)
        if cached is not None:
            return cached
        drawn = [self._draw(1, example) for example in batch.examples.tolist()]
        return self._guide.forward_shared(torch.cat(drawn))

    def _draw(self, num_examples: int, index: int) -> Tensor:
        return noise(self._spec, num_examples, self._streams.generator("control", index))


class InputSource:
    """Control `input`: each tap replaced by the guide's own input.

    Pixels or signal as they are; tokens as one-hot token beside one-hot position (`geometry`).
    """

    def __init__(self, guide_taps: tuple[str, ...], spec: InputSpec) -> None:
        self.taps, self._spec = guide_taps, spec

    def features(self, batch: Batch, step: int) -> Features:  # noqa: ARG002
        """The same input features at every tap."""
        return self.evaluate(batch.seen)

    def evaluate(self, inputs: Tensor) -> Mapping[str, Tensor]:
        """The same input features at every tap."""
        return dict.fromkeys(self.taps, geometry(inputs, self._spec))


class UniformSource:
    """Control `uniform`: a guide for which all classes are alike, which is label smoothing."""

    def __init__(self, task: Task) -> None:
        self.taps: tuple[str, ...] = (LOGITS,)
        self._num_classes = task.output.num_classes
        self._per_position = task.output.per_position

    def features(self, batch: Batch, step: int) -> Features:  # noqa: ARG002
        """Equal logits."""
        return self.evaluate(batch.inputs)

    def evaluate(self, inputs: Tensor) -> Mapping[str, Tensor]:
        """Equal logits (batch, num_classes), at each position where the task answers there."""
        lead = inputs.shape[: 2 if self._per_position else 1]
        return {LOGITS: torch.zeros(*lead, self._num_classes, device=inputs.device)}


def geometry(inputs: Tensor, spec: InputSpec) -> Tensor:
    """Inputs as features: (batch, values), or for tokens one-hot token beside one-hot position.

    These are (batch, time, vocabulary + time). One-hot tokens of a vocabulary above
    `LARGE_VOCABULARY` are projected to `PROJECTED` dimensions by fixed random signs, which keeps
    products between them but for errors of about 1 / sqrt(PROJECTED) (Johnson and Lindenstrauss;
    with signs, Achlioptas 2003).
    """
    if spec.kind != "tokens":
        return inputs.flatten(1)
    assert spec.vocabulary is not None
    if spec.vocabulary > LARGE_VOCABULARY:
        tokens = functional.embedding(inputs, _projection(spec.vocabulary, inputs.device))
    else:
        tokens = functional.one_hot(inputs, spec.vocabulary).float()
    time = inputs.shape[1]
    position = torch.eye(time, device=inputs.device).expand(len(inputs), time, time)
    return torch.cat([tokens, position], -1)


def geometry_width(spec: InputSpec) -> int:
    """Features of `geometry`: of an example, or for tokens of a position."""
    if spec.kind != "tokens":
        return math.prod(spec.shape)
    assert spec.vocabulary is not None
    token = PROJECTED if spec.vocabulary > LARGE_VOCABULARY else spec.vocabulary
    return token + spec.shape[0]


@lru_cache(maxsize=4)
def _projection(vocabulary: int, device: torch.device) -> Tensor:
    """What a one-hot token becomes (vocabulary, PROJECTED): signs over sqrt(PROJECTED)."""
    # Not as an inference tensor, wherever it is asked for first: training uses it too.
    with torch.inference_mode(mode=False):
        generator = torch.Generator().manual_seed(PROJECTION_SEED)
        signs = torch.randint(2, (vocabulary, PROJECTED), generator=generator).mul_(2).sub_(1)
        return (signs / math.sqrt(PROJECTED)).to(device)


def source_for(
    control: Control,
    guide: FrozenGuide,
    streams: Streams,
    streamed: StreamedFeatures | None = None,
    cached: Cached | None = None,
) -> FeatureSource:
    """The features of a guide under a control that keeps it (`none` and `self`: its own).

    `streamed`: the guide's `streamed_features` for this target, None to run it in every step.
    `cached`: what is cached on fixed data, None for what is by default.
    """
    if control == "noise":
        return NoiseSource(guide, streams, cached)
    if control == "shuffled":
        return ShuffledSource(guide, streams, streamed, cached)
    return GuideSource(guide, streamed, cached)
