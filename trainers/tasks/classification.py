"""Tasks of classes: cross-entropy, the most likely class, accuracy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from trainers.tasks.base import Task
from trainers.tasks.specs import IGNORE, is_scored


class Classification(Task):
    """A task of classes, of whole examples or of positions; answers are logits."""

    primary_metric: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[Mapping[str, bool]] = {"accuracy": True, "loss": False}
    answers_with = "num_classes"

    def loss(self, answers: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy in nats of logits (..., num_classes) and labels (...)."""
        flat = answers.flatten(0, -2)
        return functional.cross_entropy(flat, labels.flatten(), ignore_index=IGNORE)

    def predict(self, answers: Tensor) -> Tensor:
        """Class (...) of the largest logit."""
        return answers.argmax(-1)

    def tally(self, answers: Tensor, labels: Tensor) -> dict[str, float]:
        """Number of scored labels and of hits, and sum of losses."""
        scored = is_scored(labels)
        count = int(scored.sum())
        hits = (self.predict(answers) == labels)[scored]
        loss = self.loss(answers.double(), labels).item() if count else 0.0
        return {"count": count, "hits": int(hits.sum()), "loss": count * loss}

    def score(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Accuracy, a fraction of 1, and mean loss."""
        return {"accuracy": sums["hits"] / sums["count"], "loss": sums["loss"] / sums["count"]}

    def chance(self, metric: str) -> float | None:
        """Score of a guess that is uniform over the classes; None for metrics of subclasses.

        Override it where labels are so unbalanced that a constant answer scores higher, and for
        metrics of your own.
        """
        num_classes = self.output.num_outputs
        return {"accuracy": 1 / num_classes, "loss": math.log(num_classes)}.get(metric)
