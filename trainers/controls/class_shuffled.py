"""Control `class_shuffled`: whether the guide's features say more of an example than its class."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.controls.base import Control, FeatureSource, SourceContext, register
from trainers.controls.shuffled import ShuffledSource
from trainers.errors import UserError
from trainers.tasks import Task, is_scored


class ClassShuffledSource(ShuffledSource):
    """The guide's features, permuted over the examples of each class in each batch."""

    stream = "class_shuffled"

    def order(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """A permutation that keeps every class; examples without a label stay where they are."""
        labels, order = labels.cpu(), torch.arange(len(labels))
        labelled = is_scored(labels)
        drawn = torch.randperm(len(labels), generator=generator)
        drawn = drawn[labelled[drawn]]
        kept = order[labelled]
        # Both sorted by class: in the order of the batch, and in a random one.
        places = kept[labels[kept].argsort(stable=True)]
        order[places] = drawn[labels[drawn].argsort(stable=True)]
        return order


@register("class_shuffled")
class ClassShuffled(Control):
    """The guide's features of another example of the same class."""

    states = ("trained",)
    works_like = "none"

    def check(self, task: Task) -> None:
        """Raise UserError for labels that give an example no class: at positions, or values."""
        if task.output.num_classes is None:
            raise UserError("it needs classes, and the task's labels are values; use shuffled")
        if task.output.per_position:
            raise UserError(
                "it needs one label an example, and the task labels every position; use shuffled"
            )

    def source(self, context: SourceContext) -> FeatureSource:
        """The guide's features, permuted within each class in each step."""
        assert context.guide is not None
        return ClassShuffledSource(context.guide, context.streams, context.streamed, context.cached)
