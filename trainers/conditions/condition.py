"""A condition: all that defines a training run except its seed. With a seed it is a replicate."""

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
    """All that defines a training run except its seed.

    In a condition of role `guide`, `target` is the guide's architecture: it is what learns, or has
    `weights` that are evaluated (`train.steps` is 0): once, because no seed takes part.
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
        """The replicate that must be finished first: the trained guide's own training.

        None where the guide is pretrained: its weights are there already.
        """
        if self.guidance is None or self.guidance.guide.train is None:
            return None
        guide = self.guidance.guide
        return Condition(
            role="guide", task=self.task, target=guide.architecture, train=self.guidance.guide.train
        )

    def with_steps(self, steps: int) -> Condition:
        """The same condition cut to `steps`, its guide too."""
        guidance = self.guidance
        if guidance is not None and guidance.guide.train is not None:
            train = replace(guidance.guide.train, epochs=None, steps=steps)
            guidance = replace(guidance, guide=replace(guidance.guide, train=train))
        if guidance is not None and guidance.schedule.align_first is not None:
            first = replace(guidance.schedule.align_first, steps=steps)
            guidance = replace(guidance, schedule=replace(guidance.schedule, align_first=first))
        # What is evaluated alone has no steps to be cut.
        steps = steps if self.weights is None else 0
        train = replace(self.train, epochs=None, steps=steps)
        return replace(self, train=train, guidance=guidance)
