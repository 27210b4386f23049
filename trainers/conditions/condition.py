"""A condition: everything that defines a training run but its seed; with a seed, a replicate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from trainers.conditions.guidance import Guidance, Term
from trainers.conditions.training import TrainSettings
from trainers.conditions.weights import Weights
from trainers.errors import UserError
from trainers.options import HashedOnce
from trainers.registry import Component

Role = Literal["guide", "baseline", "guided", "control", "rival"]
#: One data set for all seeds, or one that each seed draws, the test split with it.
Data = Literal["fixed", "per_seed"]


@dataclass(frozen=True, kw_only=True)
class Rival(HashedOnce):
    """A treatment that competes with guidance: a registered start, constraint or loss.

    `control` names what takes the place of the rival's prior; `none` is the rival itself. `weights`
    are those that it starts from. `guidance` is that of a rival which aligns the target first: its
    steps of alignment are taken out of those of the training.
    """

    method: Component
    control: str = "none"
    weights: Weights | None = None
    guidance: Guidance | None = None

    def __post_init__(self) -> None:
        aligns = self.guidance is None or self.guidance.schedule.align_first is not None
        assert aligns, self

    @property
    def is_control(self) -> bool:
        """Whether something takes the place of its prior or its guide."""
        shown = self.guidance is not None and self.guidance.is_control
        return shown or self.control != "none"


Treatment = Guidance | Rival


@dataclass(frozen=True, kw_only=True)
class Condition(HashedOnce):
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
        if self.treatment.is_control:
            return "control"
        return "rival" if isinstance(self.treatment, Rival) else "guided"

    @property
    def rival(self) -> Rival | None:
        """Its treatment if that is a rival."""
        return self.treatment if isinstance(self.treatment, Rival) else None

    @property
    def guidance(self) -> Guidance | None:
        """Its treatment if that is guidance, or the guidance of a rival that has any."""
        return self.treatment.guidance if isinstance(self.treatment, Rival) else self.treatment

    @property
    def align_steps(self) -> int:
        """Number of steps of alignment alone, before training."""
        return 0 if self.guidance is None else self.guidance.schedule.align_steps

    def train_steps(self, num_train: int | None) -> int:
        """Number of steps on the task's loss, on `num_train` examples (None: streamed data).

        Raises UserError for streamed data without `steps`, and where a rival's steps of alignment
        leave none.
        """
        steps = self.train.num_steps(num_train)
        if self.rival is None:
            return steps
        if self.align_steps >= steps > 0:
            left = f"allowed: 1 to {steps - 1}" if steps > 1 else "allowed: a training of 2 or more"
            raise UserError(
                f"rival {self.rival.method.name!r}: steps is {self.align_steps}, and the training "
                f"has {steps} in all, so none is left for the task; {left}"
            )
        return steps - self.align_steps

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

    def with_guidance(self, guidance: Guidance) -> Condition:
        """The same condition with other guidance; that of a rival if it has one."""
        if self.rival is not None:
            return replace(self, treatment=replace(self.rival, guidance=guidance))
        return replace(self, treatment=guidance)

    def with_terms(self, *terms: Term) -> Condition:
        """The same condition with other terms of its guidance."""
        assert self.guidance is not None
        return self.with_guidance(replace(self.guidance, terms=terms))

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
            # Those of a rival are among the steps of the training.
            first = steps if self.rival is None else max(1, steps // 2)
            schedule = replace(schedule, align_first=replace(schedule.align_first, steps=first))
        terms = tuple(_with_guide_steps(term, steps) for term in guidance.terms)
        return cut.with_guidance(replace(guidance, terms=terms, schedule=schedule))


def _with_guide_steps(term: Term, steps: int) -> Term:
    if term.guide.train is None:
        return term
    train = replace(term.guide.train, epochs=None, steps=steps)
    return replace(term, guide=replace(term.guide, train=train))
