"""Rival `label_smoothing`: whether softer labels would do, without a teacher."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from trainers.architectures import Network
from trainers.errors import UserError
from trainers.rivals.base import Rival, register
from trainers.tasks import IGNORE, Classification, Task


@register("label_smoothing")
class LabelSmoothing(Rival):
    """Cross-entropy with the part `smoothing` of each label spread over all classes.

    (Szegedy et al. 2016, arXiv 1512.00567, section 7, with the uniform prior over classes, as
    `label_smoothing` of PyTorch's `cross_entropy` has it.) For tasks whose loss is that of
    `Classification`; one with a loss of its own is refused.

    Deviations: it is used on tasks of sequences, too, at each position that has a label. Metrics
    and `train/task_loss` are those of the labels as they are.
    """

    def __init__(self, *, smoothing: float = 0.1) -> None:
        if not 0 < smoothing < 1:
            raise UserError(
                f"rival label_smoothing: smoothing is {smoothing}; allowed: above 0 and below 1"
            )
        self._smoothing = smoothing

    def check(self, network: Network, task: Task) -> None:  # noqa: ARG002
        """Raise UserError for a task with a loss of its own."""
        if type(task).loss is not Classification.loss:
            raise UserError(
                "rival label_smoothing takes tasks whose loss is the mean cross-entropy, and task "
                f"{type(task).__name__} has a loss of its own"
            )

    def loss(self, task: Task, answers: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Mean smoothed cross-entropy in nats of logits (..., num_classes) and labels (...)."""
        return functional.cross_entropy(
            answers.flatten(0, -2),
            labels.flatten(),
            ignore_index=IGNORE,
            label_smoothing=self._smoothing,
        )
