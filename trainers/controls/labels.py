"""Control `labels`: whether the guide's features matter, or only the labels that they encode.

A trained guide's features of its own training examples encode their labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from trainers.architectures.taps import Rows
from trainers.controls._one_hot import one_hot, one_hot_width
from trainers.controls._places import BY_POSITION, spread
from trainers.controls.base import Control, FeatureSource, SourceContext, register
from trainers.guides.features import Features
from trainers.mappings import Pair
from trainers.tasks import OutputSpec, Task, is_scored
from trainers.tasks.batches import Batch

At = Literal["last", "all"]


class LabelSource:
    """Source whose feature at each tap is the label: one-hot, zero where there is none, or values.

    (batch, time, classes) of labels at every position; a label of an example is (batch, classes),
    or (batch, num_values), or stands at each position of the tap where rows are positions.
    """

    def __init__(
        self,
        guide_taps: tuple[str, ...],
        task: Task,
        rows: Rows,
        shapes: Callable[[], Mapping[str, torch.Size]],
    ) -> None:
        self.taps, self._task = guide_taps, task
        self._shapes = shapes() if _spreads(task, rows) else None

    def features(self, batch: Batch, step: int) -> Features:  # noqa: ARG002
        """The labels of the batch."""
        return self.evaluate(batch.inputs, batch.labels)

    def evaluate(self, inputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:  # noqa: ARG002
        """The labels of any examples."""
        features = _features(labels, self._task.output)
        return _at_taps(features, self.taps, self._task, self._shapes)


@register("labels")
class Labels(Control):
    """The label of each example, one-hot or its values, at the last pair of taps or `at` all."""

    guides = ("taps",)
    states = ("trained",)
    standard = True
    runs_guide = False
    of_target = True
    sees_inputs = False
    shows_labels = True

    def __init__(self, *, at: At = "last") -> None:
        self._at = at

    def source(self, context: SourceContext) -> FeatureSource:
        """The labels."""
        return LabelSource(context.taps, context.task, context.rows, context.shapes)

    def shown(self, task: Task, rows: Rows, outputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Labels, of examples or at each position."""
        like, width = next(iter(outputs.values())), _width(task.output)
        time = task.input.shape[:1] if task.output.per_position else ()
        shapes = {tap: output.shape[1:] for tap, output in outputs.items()}
        features = like.new_empty(len(like), *time, width)
        return _at_taps(features, tuple(outputs), task, shapes if _spreads(task, rows) else None)

    def pairs(
        self, mapped: Sequence[Pair], target_taps: Sequence[str], guide_taps: Sequence[str]
    ) -> list[Pair]:
        """All pairs, or the one of the deepest target tap (of several, the deepest guide tap)."""
        if self._at == "all":
            return list(mapped)

        def depth(pair: Pair) -> tuple[int, int]:
            return target_taps.index(pair.target), guide_taps.index(pair.guide)

        return [max(mapped, key=depth)]


def _features(labels: Tensor, output: OutputSpec) -> Tensor:
    """Features (..., width) of labels: themselves if they are values."""
    if output.num_classes is None:
        return labels
    return one_hot(labels.clamp(min=0), output.num_classes) * is_scored(labels)[..., None]


def _width(output: OutputSpec) -> int:
    return output.num_outputs if output.num_classes is None else one_hot_width(output.num_classes)


def _spreads(task: Task, rows: Rows) -> bool:
    """Whether a label of an example stands at each position of a tap."""
    return rows in BY_POSITION and not task.output.per_position


def _at_taps(
    features: Tensor,
    taps: tuple[str, ...],
    task: Task,
    shapes: Mapping[str, torch.Size] | None,
) -> Mapping[str, Tensor]:
    if shapes is None:
        return dict.fromkeys(taps, features)
    made = {shape: spread(features, shape, task.input.kind) for shape in {shapes[t] for t in taps}}
    return {tap: made[shapes[tap]] for tap in taps}
