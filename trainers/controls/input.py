"""Control `input`: whether the guide's architecture matters, or only the geometry of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from trainers.architectures.taps import Rows
from trainers.controls.base import Control, FeatureSource, SourceContext, register
from trainers.guides.features import Features
from trainers.tasks import InputSpec
from trainers.tasks.batches import Batch

#: Largest vocabulary whose one-hot tokens are not projected.
LARGE_VOCABULARY = 1024
#: Dimensions of projected tokens, and seed of the projection.
PROJECTED, PROJECTION_SEED = 512, 0


class InputSource:
    """Source whose feature at each tap is the guide's own input.

    Pixels or signal as they are; tokens as one-hot token beside one-hot position (`geometry`).
    """

    def __init__(self, guide_taps: tuple[str, ...], spec: InputSpec) -> None:
        self.taps, self._spec = guide_taps, spec

    def features(self, batch: Batch, step: int) -> Features:  # noqa: ARG002
        """The same input features at every tap."""
        return self.evaluate(batch.guide_inputs, batch.labels)

    def evaluate(self, inputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:  # noqa: ARG002
        """The same input features at every tap."""
        return dict.fromkeys(self.taps, geometry(inputs, self._spec))


@register("input")
class Input(Control):
    """The guide's own input at every tap."""

    guides = ("taps",)
    runs_guide = False
    shows_taps = False

    def source(self, context: SourceContext) -> FeatureSource:
        """The input at every tap."""
        return InputSource(context.taps, context.task.input)

    def row_width(self, input: InputSpec, rows: Rows) -> int:
        """Number of input values of a row: pixels, or one-hot token and position."""
        if input.kind == "tokens":
            width = geometry_width(input)
            return width * input.shape[0] if rows == "examples" else width
        return math.prod(input.shape) if rows == "examples" else input.shape[0]


def geometry(inputs: Tensor, spec: InputSpec) -> Tensor:
    """Inputs as features: (batch, values), or for tokens one-hot token beside one-hot position.

    Tokens become (batch, time, vocabulary + time). If the vocabulary is above `LARGE_VOCABULARY`,
    one-hot tokens are projected to `PROJECTED` dimensions by fixed random signs, which preserves
    products up to errors of about 1 / sqrt(PROJECTED) (Johnson and Lindenstrauss; with signs,
    Achlioptas 2003).
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
    """Number of features of `geometry` of an example, or of a position for tokens."""
    if spec.kind != "tokens":
        return math.prod(spec.shape)
    assert spec.vocabulary is not None
    token = PROJECTED if spec.vocabulary > LARGE_VOCABULARY else spec.vocabulary
    return token + spec.shape[0]


@lru_cache(maxsize=4)
def _projection(vocabulary: int, device: torch.device) -> Tensor:
    """Projected one-hot tokens (vocabulary, PROJECTED): random signs over sqrt(PROJECTED)."""
    # Not an inference tensor, even if first needed in inference mode: training uses it too.
    with torch.inference_mode(mode=False):
        generator = torch.Generator().manual_seed(PROJECTION_SEED)
        signs = torch.randint(2, (vocabulary, PROJECTED), generator=generator).mul_(2).sub_(1)
        return (signs / math.sqrt(PROJECTED)).to(device)
