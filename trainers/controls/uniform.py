"""Control `uniform`: whether a guide that knows nothing would do, which is label smoothing."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trainers.architectures.taps import LOGITS
from trainers.controls.base import Control, FeatureSource, SourceContext, register
from trainers.errors import UserError
from trainers.guides.features import Features
from trainers.tasks import Task
from trainers.tasks.batches import Batch


class UniformSource:
    """Source of equal logits for all classes."""

    def __init__(self, task: Task) -> None:
        self.taps: tuple[str, ...] = (LOGITS,)
        self._num_outputs = task.output.num_outputs
        self._per_position = task.output.per_position

    def features(self, batch: Batch, step: int) -> Features:  # noqa: ARG002
        """Equal logits."""
        return self.evaluate(batch.inputs, batch.labels)

    def evaluate(self, inputs: Tensor, labels: Tensor) -> Mapping[str, Tensor]:  # noqa: ARG002
        """Equal logits (batch, num_classes), or (batch, time, num_classes)."""
        lead = inputs.shape[: 2 if self._per_position else 1]
        return {LOGITS: torch.zeros(*lead, self._num_outputs, device=inputs.device)}


@register("uniform")
class Uniform(Control):
    """Equal logits for all classes; one control for all guides of a target."""

    guides = ("answers",)
    standard = True
    runs_guide = False
    of_target = True
    sees_inputs = False

    def check(self, task: Task) -> None:
        """Raise UserError for answers that are values, not logits."""
        if task.output.num_classes is None:
            raise UserError("it needs classes, and the task's answers are values")

    def source(self, context: SourceContext) -> FeatureSource:
        """Equal logits."""
        return UniformSource(context.task)
