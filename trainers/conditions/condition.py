"""A condition: everything that defines a training run but its seed; with a seed, a replicate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from trainers.conditions.guidance import Guidance, Term
from trainers.conditions.training import TrainSettings
from trainers.conditions.weights import Weights
from trainers.errors import UserError
from trainers.registry import Component

Role = Literal["guide", "baseline", "guided", "control", "rival"]
#: One data set for all seeds, or one that each seed draws, the test split with it.
Data = Literal["fixed", "per_seed"]


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A treatment without a guide: a registered initialisation or constraint of the target."""

    method: Component


Treatment = Guidance | Rival


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Everything that defines a training run except its seed.

    The target is trained with a `treatment`: guidance or a rival; without one it is a baseline. If
    `is_guide`, `target` is the architecture of a guide. It is trained, or has pretrained `weights`
    and is only evaluated (`train.steps` is 0), once for all seeds. With `data` per
    seed, a seed's baseline, guide and guided runs have the same data.
    """

    task: Component
    target: Component
    train: TrainSettings
    treatment: Treatment | None = None
    is_guide: bool = False
    weights: Weights | None = None
    data: Data = "fixed"

    def __post_init__(self) -> None:
        if (self.train.steps == 0) != (self.weights is not None):
            raise UserError(
                f"train: steps is {self.train.steps}; allowed: 1 or more, and 0 for pretrained "
                "weights alone"
            )
        assert self.weights is None or self.is_guide, self
        assert not self.is_guide or self.treatment is None, self
        if self.data not in get_args(Data):
            raise UserError(f"data is {self.data!r}; allowed: {', '.join(get_args(Data))}")
        guides = (term.guide.weights for term in self.terms)
        if self.data != "fixed" and any(given is not None for given in (self.weights, *guides)):
            raise UserError(
                f"data is {self.data}, and the guide has weights that were trained on one data "
                "set; allowed: fixed, or a guide without weights"
            )

    @property
    def role(self) -> Role:
        """Its role in a study."""
        if self.is_guide:
            return "guide"
        if self.treatment is None:
            return "baseline"
        if isinstance(self.treatment, Rival):
            return "rival"
        return "control" if self.treatment.is_control else "guided"

    @property
    def guidance(self) -> Guidance | None:
        """Its treatment if that is guidance."""
        return self.treatment if isinstance(self.treatment, Guidance) else None

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms of its guidance; empty without guidance."""
        return () if self.guidance is None else self.guidance.terms

    @property
    def guide_conditions(self) -> tuple[Condition, ...]:
        """Conditions of the trained guides' own trainings, which must finish first.

        Empty without guidance, and if no guide is trained by the study.
        """
        found = (self.guide_condition(term) for term in self.terms)
        return tuple(dict.fromkeys(each for each in found if each is not None))

    def guide_condition(self, term: Term) -> Condition | None:
        """Condition of the training of a term's guide; None if the study does not train it."""
        if term.guide.train is None:
            return None
        return Condition(
            is_guide=True, task=self.task, target=term.guide.architecture,
            train=term.guide.train, data=self.data,
        )  # fmt: skip

    def data_seed(self, seed: int) -> int | None:
        """Seed of the data of a replicate; None for the data set that all seeds share."""
        return None if self.data == "fixed" else seed

    def with_terms(self, *terms: Term) -> Condition:
        """The same condition with other terms of its guidance."""
        assert self.guidance is not None
        return replace(self, treatment=replace(self.guidance, terms=terms))

    def with_steps(self, steps: int) -> Condition:
        """The same condition cut to `steps`, its guides' training and `align_first` too."""
        # Pretrained weights that are only evaluated keep their 0 steps.
        own = steps if self.weights is None else 0
        cut = replace(self, train=replace(self.train, epochs=None, steps=own))
        guidance = self.guidance
        if guidance is None:
            return cut
        schedule = guidance.schedule
        if schedule.align_first is not None:
            schedule = replace(schedule, align_first=replace(schedule.align_first, steps=steps))
        terms = tuple(_with_guide_steps(term, steps) for term in guidance.terms)
        return replace(cut, treatment=replace(guidance, terms=terms, schedule=schedule))


def _with_guide_steps(term: Term, steps: int) -> Term:
    if term.guide.train is None:
        return term
    train = replace(term.guide.train, epochs=None, steps=steps)
    return replace(term, guide=replace(term.guide, train=train))
