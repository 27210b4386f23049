"""Guidance: which guides take part in training, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from trainers.architectures.taps import Rows
from trainers.conditions.cache_form import Cache
from trainers.conditions.schedule import Schedule
from trainers.conditions.training import TrainSettings
from trainers.conditions.weights import Weights
from trainers.distances import DISTANCES
from trainers.errors import UserError
from trainers.mappings import MAPPINGS
from trainers.options import Bounds, HashedOnce, check_fields
from trainers.registry import Component

State = Literal["trained", "untrained"]
BatchNorm = Literal["calibrated", "eval", "batch"]
#: The guide's inputs: those of the target, or another augmentation of the same examples.
GuideInputs = Literal["same", "other_augmentation"]
Reduction = Literal["sum", "mean"]

#: The control of a term that shows the guide itself.
NO_CONTROL = Component("none")


@dataclass(frozen=True, kw_only=True)
class Guide(HashedOnce):
    """A guide: an architecture in a state, frozen.

    A trained guide has either `train` or, if it was trained elsewhere, `weights`; an untrained one
    has `batch_norm`. The state is None for a control that runs no guide network.
    """

    architecture: Component
    state: State | None
    batch_norm: BatchNorm | None = None
    train: TrainSettings | None = None
    weights: Weights | None = None

    def __post_init__(self) -> None:
        check_fields(self, "guide")
        if self.train is not None and self.train.steps == 0:
            raise UserError("guide: train: steps is 0; allowed: 1 or more")
        given = (self.train is not None) + (self.weights is not None)
        assert given == (self.state == "trained"), self
        assert (self.batch_norm is not None) == (self.state == "untrained"), self


@dataclass(frozen=True, kw_only=True)
class Term(HashedOnce):
    """One guide's part in guidance: its distance to the target, summed over mapped taps.

    `reduction` is over the mapped pairs. `control` takes the guide's place; `none` is the guide
    itself. `weight` multiplies the term. `shown_at`, of controls that show something of the
    target's own, holds the target taps and weights of the pairs, which no mapping gives (None: the
    mapping gives the pairs).
    """

    guide: Guide
    control: Component = NO_CONTROL
    distance: Component = field(default_factory=lambda: DISTANCES.component("linear_cka"))
    rows: Rows = "examples"
    mapping: Component = field(default_factory=lambda: MAPPINGS.component("evenly_spaced"))
    reduction: Reduction = "sum"
    weight: Annotated[float, Bounds(gt=0)] = 1.0
    #: Form of the guide's cache; None if the spec has no cache.
    cache: Cache | None = None
    shown_at: tuple[tuple[str, float], ...] | None = None

    def __post_init__(self) -> None:
        check_fields(self, "guidance")

    @property
    def runs_guide(self) -> bool:
        """Whether a guide network runs in training."""
        return self.guide.state is not None


@dataclass(frozen=True, kw_only=True)
class Guidance(HashedOnce):
    """Guidance of a target: the sum of its `terms`, one for each guide, under one schedule."""

    terms: tuple[Term, ...]
    schedule: Schedule = field(default_factory=Schedule)
    guide_inputs: GuideInputs = "same"

    def __post_init__(self) -> None:
        check_fields(self, "guidance")
        if not self.terms:
            raise UserError("guidance: terms is empty; give 1 guide or more")

    @property
    def term(self) -> Term:
        """The only term; raises ValueError if there are several."""
        (term,) = self.terms
        return term

    @property
    def is_control(self) -> bool:
        """Whether controls take the places of all guides; one among guides is part of a mixture."""
        return all(term.control != NO_CONTROL for term in self.terms)
