"""Guidance: which guide takes part in training, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from trainers.architectures.taps import Rows
from trainers.conditions.cache_form import Cache
from trainers.conditions.schedule import Schedule
from trainers.conditions.training import TrainSettings
from trainers.conditions.weights import Weights
from trainers.distances import DISTANCES
from trainers.errors import UserError
from trainers.mappings import MAPPINGS
from trainers.options import check_fields
from trainers.registry import Component

State = Literal["trained", "untrained"]
BatchNorm = Literal["calibrated", "eval", "batch"]
#: The guide's inputs: those of the target, or another augmentation of the same examples.
GuideInputs = Literal["same", "other_augmentation"]
Reduction = Literal["sum", "mean"]


@dataclass(frozen=True, kw_only=True)
class Guide:
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
class Guidance:
    """Guidance of a target by a guide: distance, mapping of taps and schedule.

    `reduction` is over the mapped pairs. `control` is the name of the control that takes the
    guide's place; `none` is the guide itself.
    """

    guide: Guide
    control: str = "none"
    distance: Component = field(default_factory=lambda: DISTANCES.component("linear_cka"))
    rows: Rows = "examples"
    mapping: Component = field(default_factory=lambda: MAPPINGS.component("evenly_spaced"))
    reduction: Reduction = "sum"
    schedule: Schedule = field(default_factory=Schedule)
    guide_inputs: GuideInputs = "same"
    #: Form of the guide's cache; None if the spec has no cache.
    cache: Cache | None = None

    def __post_init__(self) -> None:
        check_fields(self, "guidance")

    @property
    def runs_guide(self) -> bool:
        """Whether a guide network runs in training."""
        return self.guide.state is not None
