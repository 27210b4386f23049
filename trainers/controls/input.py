"""Control `input`: whether the guide's architecture matters, or only the geometry of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from trainers.architectures.taps import Rows
from trainers.controls._one_hot import one_hot, one_hot_width
from trainers.controls._places import BY_POSITION, cells, grid
from trainers.controls.base import Control, FeatureSource, SourceContext, register
from trainers.guides.features import Features
from trainers.tasks import InputSpec, Task
from trainers.tasks.batches import Batch

#: Places of each guide tap; see `grid`.
Grids = Mapping[str, tuple[int, ...]]


class InputSource:
    """Source whose feature at each tap is the guide's own input (`geometry`).

    With `grids`, each place of a tap shows its cell of the input alone.
    """

    def __init__(
        self, guide_taps: tuple[str, ...], spec: InputSpec, grids: Grids | None = None
    ) -> None:
        self.taps, self._spec, self._grids = guide_taps, spec, grids

    def features(self, batch: Batch, step: int) -> Features:  # noqa: ARG002
        """The input's features; taps of the same places share them."""
        return self.evaluate(batch.guide_inputs, batch.labels)

    def evaluate(self, inputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:  # noqa: ARG002
        """The input's features; taps of the same places share them."""
        return _at_taps(inputs, self._spec, self.taps, self._grids)


@register("input")
class Input(Control):
    """The guide's own input at every tap."""

    guides = ("taps",)
    runs_guide = False
    standard = True

    def source(self, context: SourceContext) -> FeatureSource:
        """The input at every tap."""
        grids = None
        if _by_place(context.task, context.rows):
            kind = context.task.input.kind
            grids = {tap: grid(shape, kind) for tap, shape in context.shapes().items()}
        return InputSource(context.taps, context.task.input, grids)

    def shown(self, task: Task, rows: Rows, outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Input values by tap: pixels, or one-hot token and position, at each position of rows."""
        grids = None
        if _by_place(task, rows):
            kind = task.input.kind
            grids = {tap: grid(output.shape[1:], kind) for tap, output in outputs.items()}
        like = next(iter(outputs.values()))
        if task.input.kind == "tokens":
            shape = (*task.input.shape, geometry_width(task.input))
            return dict.fromkeys(outputs, like.new_empty(len(like), *shape))
        inputs = like.new_empty(len(like), *task.input.shape)
        return _at_taps(inputs, task.input, tuple(outputs), grids)


def _by_place(task: Task, rows: Rows) -> bool:
    return rows in BY_POSITION and task.input.kind != "tokens"


def _at_taps(
    inputs: Tensor, spec: InputSpec, taps: tuple[str, ...], grids: Grids | None
) -> Mapping[str, Tensor]:
    if grids is None:
        return dict.fromkeys(taps, geometry(inputs, spec))
    made = {places: cells(inputs, places) for places in {grids[tap] for tap in taps}}
    return {tap: made[grids[tap]] for tap in taps}


def geometry(inputs: Tensor, spec: InputSpec) -> Tensor:
    """Inputs as features: (batch, values), or for tokens one-hot token beside one-hot position.

    Tokens become (batch, time, vocabulary + time), large vocabularies projected as by `one_hot`.
    """
    if spec.kind != "tokens":
        return inputs.flatten(1)
    assert spec.vocabulary is not None
    time = inputs.shape[1]
    position = torch.eye(time, device=inputs.device).expand(len(inputs), time, time)
    return torch.cat([one_hot(inputs, spec.vocabulary), position], -1)


def geometry_width(spec: InputSpec) -> int:
    """Number of features of `geometry` of an example, or of a position for tokens."""
    if spec.kind != "tokens":
        return math.prod(spec.shape)
    assert spec.vocabulary is not None
    return one_hot_width(spec.vocabulary) + spec.shape[0]
