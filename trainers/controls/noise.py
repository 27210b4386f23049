"""Control `noise`: whether the guide's input matters."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.controls.base import Control, FeatureSource, SourceContext, register
from trainers.controls.none import GuideSource
from trainers.guides.cached_features import CachedFeatures
from trainers.guides.disk_cache import CacheInputs
from trainers.guides.features import Cached, Features, NoCache
from trainers.guides.frozen import FrozenGuide
from trainers.runtime.devices import moved
from trainers.runtime.streams import Streams
from trainers.tasks import Task
from trainers.tasks.batches import Batch, noise

_STREAM = "control"


class NoiseSource(GuideSource):
    """Source whose guide sees one fixed Gaussian input per example.

    Tokens are drawn uniformly instead. In streamed data each example occurs once, and so does its
    noise.
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
            return self.guide.forward_shared(moved(streamed, self.guide.device))
        cached = self.cached.batch(batch.examples)
        if cached is not None:
            return cached
        drawn = [self._draw(1, example) for example in batch.examples.tolist()]
        return self.guide.forward_shared(torch.cat(drawn))

    def _draw(self, num_examples: int, index: int) -> Tensor:
        return noise(self._spec, num_examples, self._streams.generator(_STREAM, index))


@register("noise")
class Noise(Control):
    """The guide's features of noise, one fixed draw per example."""

    sees_inputs = False

    def source(self, context: SourceContext) -> FeatureSource:
        """The guide's features of noise."""
        assert context.guide is not None
        return NoiseSource(context.guide, context.streams, context.cached)

    def cache_inputs(self, task: Task, streams: Streams) -> CacheInputs:
        """Noise for every training example, in one draw."""

        def drawn() -> Tensor:
            return noise(task.input, len(task.train.inputs), streams.generator(_STREAM, 0))

        return CacheInputs("noise", drawn, of=streams.key.decode())
