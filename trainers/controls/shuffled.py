"""Control `shuffled`: whether the right example matters."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.controls.base import Control, FeatureSource, SourceContext, register
from trainers.controls.none import GuideSource
from trainers.guides.features import Cached, Features
from trainers.guides.frozen import FrozenGuide, StreamedFeatures
from trainers.runtime.devices import moved
from trainers.runtime.streams import Streams
from trainers.tasks.batches import Batch


class ShuffledSource(GuideSource):
    """The guide's features, permuted over the examples of each batch."""

    #: Name of the stream of the permutations.
    stream = "control"

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
        """Features of the batch in an order that is drawn anew in each step."""
        order = moved(
            self.order(batch.labels, self._streams.generator(self.stream, step)),
            batch.inputs.device,
        )
        if batch.examples is None:
            # The features are permuted, not the inputs: they are shared with unshuffled runs.
            features = self.run(batch)
            return {tap: output[order] for tap, output in features.items()}
        examples = batch.examples[order]
        shuffled = batch._replace(
            inputs=batch.guide_inputs[order], examples=examples, augmented_for_guide=None
        )
        return super().features(shuffled, step)

    def order(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Index (batch,) of the example that each example of a batch shows, on the CPU.

        `labels` are (batch,) or (batch, time).
        """
        return torch.randperm(len(labels), generator=generator)


@register("shuffled")
class Shuffled(Control):
    """The guide's features of another example of the batch."""

    standard = True
    works_like = "none"

    def source(self, context: SourceContext) -> FeatureSource:
        """The guide's features, permuted in each step."""
        assert context.guide is not None
        return ShuffledSource(context.guide, context.streams, context.streamed, context.cached)
