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
#: What the guide sees of a batch: the target's inputs, or another augmentation of its examples.
GuideInputs = Literal["same", "other_augmentation"]
Reduction = Literal["sum", "mean"]


@dataclass(frozen=True, kw_only=True)
class Guide:
    """A guide: an architecture in a state, frozen.

    `train` is set where the state is trained, or `weights` where it was trained elsewhere, and
    `batch_norm` where it is untrained. Where a control runs no network there is no state.
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
    """How a guide takes part in training (`reduction` is over the mapped pairs).

    `control` is the name of what guides in its place, `none` where it guides itself.
    """

    guide: Guide
    control: str = "none"
    distance: Component = field(default_factory=lambda: DISTANCES.component("linear_cka"))
    rows: Rows = "examples"
    mapping: Component = field(default_factory=lambda: MAPPINGS.component("evenly_spaced"))
    reduction: Reduction = "sum"
    schedule: Schedule = field(default_factory=Schedule)
    guide_inputs: GuideInputs = "same"
    #: How the guide's features are kept where the spec has a cache; None where it has none.
    cache: Cache | None = None

    def __post_init__(self) -> None:
        check_fields(self, "guidance")

    @property
    def runs_guide(self) -> bool:
        """Whether a guide network runs."""
        return self.guide.state is not None
