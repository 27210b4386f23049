"""A condition: everything that defines a training run but its seed; with a seed, a replicate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from trainers.conditions.guidance import Guidance
from trainers.conditions.training import TrainSettings
from trainers.conditions.weights import Weights
from trainers.errors import UserError
from trainers.registry import Component

Role = Literal["guide", "baseline", "guided", "control"]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Everything that defines a training run except its seed.

    In a condition of role `guide`, `target` is the guide's architecture. It is trained, or has
    pretrained `weights` and is only evaluated (`train.steps` is 0), once for all seeds.
    """

    role: Role
    task: Component
    target: Component
    train: TrainSettings
    guidance: Guidance | None = None
    weights: Weights | None = None

    def __post_init__(self) -> None:
        if (self.train.steps == 0) != (self.weights is not None):
            raise UserError(
                f"train: steps is {self.train.steps}; allowed: 1 or more, and 0 for pretrained "
                "weights alone"
            )
        assert self.weights is None or self.role == "guide", self
        guided = self.role in ("guided", "control")
        assert guided == (self.guidance is not None), self
        if self.guidance is not None:
            assert (self.guidance.control == "none") == (self.role == "guided"), self

    @property
    def guide_condition(self) -> Condition | None:
        """Condition of the trained guide's own training, which must finish first.

        None without guidance, and if the guide is not trained by the study.
        """
        if self.guidance is None or self.guidance.guide.train is None:
            return None
        guide = self.guidance.guide
        return Condition(
            role="guide", task=self.task, target=guide.architecture, train=self.guidance.guide.train
        )

    def with_steps(self, steps: int) -> Condition:
        """The same condition cut to `steps`, its guide's training and `align_first` too."""
        guidance = self.guidance
        if guidance is not None and guidance.guide.train is not None:
            train = replace(guidance.guide.train, epochs=None, steps=steps)
            guidance = replace(guidance, guide=replace(guidance.guide, train=train))
        if guidance is not None and guidance.schedule.align_first is not None:
            first = replace(guidance.schedule.align_first, steps=steps)
            guidance = replace(guidance, schedule=replace(guidance.schedule, align_first=first))
        # Pretrained weights that are only evaluated keep their 0 steps.
        steps = steps if self.weights is None else 0
        train = replace(self.train, epochs=None, steps=steps)
        return replace(self, train=train, guidance=guidance)
