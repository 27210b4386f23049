"""No control: the guide itself."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from trainers.controls.base import Control, FeatureSource, SourceContext, register
from trainers.guides.cached_features import DefaultCache
from trainers.guides.features import Cached, Features
from trainers.guides.frozen import FrozenGuide, StreamedFeatures
from trainers.tasks.batches import Batch


class GuideSource:
    """The guide itself: cached features of training examples, or one forward pass per step.

    Features of streamed batches are in `streamed`, if given, once any run has computed them.
    """

    def __init__(
        self,
        guide: FrozenGuide,
        streamed: StreamedFeatures | None = None,
        cached: Cached | None = None,
    ) -> None:
        self.guide, self.taps = guide, guide.taps
        self.streamed, self.cached = streamed, cached or DefaultCache(guide)

    def features(self, batch: Batch, step: int) -> Features:  # noqa: ARG002
        """Guide features of the batch's examples."""
        cached = None if batch.examples is None else self.cached.batch(batch.examples)
        if cached is not None:
            return cached
        return self.run(batch)

    def run(self, batch: Batch) -> Mapping[str, Tensor]:
        """Features from a forward pass, or from that of another run with the same batch."""
        if self.streamed is None or batch.number is None:
            return self.guide.forward_shared(batch.guide_inputs)
        return self.streamed.at(batch.number, lambda: self.guide.forward_shared(batch.guide_inputs))

    def evaluate(self, inputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:  # noqa: ARG002
        """The guide's features of `inputs`."""
        return self.guide.evaluate(inputs)


@register("none")
class NoControl(Control):
    """The guide itself."""

    compared = True

    def source(self, context: SourceContext) -> FeatureSource:
        """The guide's features."""
        assert context.guide is not None
        return GuideSource(context.guide, context.streamed, context.cached)
