"""The parts of a spec: values on axes, training settings, schedules, registered names.

Every list is a grid axis, so each field holds the list of its values.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache, reduce
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from study.errors import OptionsError, explain
from study.spec.settings import (
    Axis,
    Countable,
    Model,
    Number,
    PositiveFloat,
    PositiveInt,
    axes_of,
    check_size,
    points_of,
    size,
)
from trainers import rivals
from trainers.architectures import ARCHITECTURES
from trainers.architectures.taps import Rows
from trainers.conditions.guidance import NO_CONTROL, BatchNorm
from trainers.conditions.registries import CONTROLS, RIVALS
from trainers.conditions.schedule import Schedule
from trainers.conditions.training import TrainSettings, updated
from trainers.distances import DISTANCES
from trainers.mappings import MAPPINGS
from trainers.registry import Component, Registry, UnknownNameError, derived
from trainers.tasks import TASKS

#: Name that stands for the controls that a claim needs.
STANDARD = "standard"


class Train(axes_of(TrainSettings)):  # type: ignore[misc]
    """Training settings; fields that are not given keep the value of the surrounding level."""

    # `TrainSettings` allows 0 for evaluation and tests; a spec does not.
    epochs: Axis[PositiveInt] = Field(default=None)  # type: ignore[arg-type]
    steps: Axis[PositiveInt] = Field(default=None)  # type: ignore[arg-type]
    lr: Axis[PositiveFloat] = Field(default=None)  # type: ignore[arg-type]

    @model_validator(mode="after")
    def _one_length(self) -> Train:
        if self.epochs is not None and self.steps is not None:
            epochs, steps = (", ".join(map(str, each)) for each in (self.epochs, self.steps))
            raise ValueError(f"epochs {epochs} and steps {steps} exclude each other: give one")
        return self


def train_settings(*layers: Train) -> list[TrainSettings]:
    """Training settings of every point of the axes; later layers override earlier ones.

    `epochs` or `steps` in a layer drops the other one of the layers before.
    """
    return points_of(TrainSettings, _merged(layers))


def num_settings(*layers: Train) -> int:
    """Number of training settings that `train_settings` returns for these layers."""
    return size(_merged(layers).values())


def thread_counts(*layers: Train) -> list[int]:
    """The values of `threads` alone, for networks that are evaluated and not trained."""
    threads: list[int] = _merged(layers).get("threads", [TrainSettings(steps=1).threads])
    return threads


def _merged(layers: Iterable[Train]) -> dict[str, list[Any]]:
    first: dict[str, list[Any]] = {}
    return reduce(updated, (layer.axes for layer in layers), first)


class ScheduleEntry(axes_of(Schedule)):  # type: ignore[misc]
    """The schedule of guidance: `alpha`, and the steps at which it is on."""

    @model_validator(mode="after")
    def _one_form(self) -> ScheduleEntry:
        check_size(self.num_points)
        # Making the points runs the checks of `Schedule`.
        assert self.points
        return self


class Entry(Model):
    """A registered name with options: `name`, or `{name: ..., option: value}`."""

    name: str
    options: dict[str, Any] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _split(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            return {"name": raw}
        if not isinstance(raw, Mapping) or "name" not in raw:
            raise ValueError("give a name, or a mapping with a name and options")
        known = {key: value for key, value in raw.items() if key in cls.model_fields}
        known.pop("options", None)
        return known | {"options": {key: raw[key] for key in raw if key not in known}}

    @model_validator(mode="after")
    def _known(self) -> Entry:
        check_size(self.num_points)
        self.components()
        return self

    @property
    def num_points(self) -> int:
        """Number of points of the options' axes."""
        return size(self._axes().values())

    @classmethod
    def registry(cls) -> Registry[Any]:
        """The registry of entries of this kind."""
        raise NotImplementedError

    def components(self) -> list[Component]:
        """Every point of the options' axes; raises ValueError on unknown names and options."""
        axes = self._axes()
        return [
            self.registry().component(self.name, **dict(zip(axes, point, strict=True)))
            for point in itertools.product(*axes.values())
        ]

    def _axes(self) -> dict[str, list[Any]]:
        model = _options_model(self.registry(), self.name)
        try:
            return dict(model.model_validate(self.options))
        except ValidationError as error:
            raise OptionsError(explain(error, model, self.options)) from error


@derived
@lru_cache
def _options_model(registry: Registry[Any], name: str) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for option, parameter in registry[name].parameters.items():
        kind = parameter.annotation
        value: Any = Annotated[kind, Number if kind in (int, float) else Countable]
        if kind is int:
            value = Annotated[value, Field(gt=-(2**63), lt=2**63)]
        fields[option] = (Axis[value], Field(default=[parameter.default]))
    config = ConfigDict(extra="forbid", strict=False, allow_inf_nan=False)
    return create_model(name, __config__=config, **fields)


class TaskEntry(Entry):
    """A task."""

    @classmethod
    def registry(cls) -> Registry[Any]:
        """The tasks."""
        return TASKS


class TargetEntry(Entry):
    """A target architecture, with training settings of its own (`train`) where given."""

    train: Train = Train()

    @classmethod
    def registry(cls) -> Registry[Any]:
        """The architectures."""
        return ARCHITECTURES


class GuideEntry(TargetEntry):
    """A guide architecture; `batch_norm` is for its untrained state.

    With `weights`, a published name or a file, its trained state is pretrained.
    """

    batch_norm: Axis[BatchNorm] = Field(default=["calibrated"], validate_default=True)
    weights: Axis[str | None] = Field(default=[None], validate_default=True)

    @model_validator(mode="after")
    def _trained_once(self) -> GuideEntry:
        if self.train.model_fields_set and self.weights != [None]:
            raise ValueError(
                "train and weights exclude each other: a guide with weights is not trained"
            )
        return self


class DistanceEntry(Entry):
    """A distance, and the meaning of the rows that it compares (`rows`)."""

    rows: Axis[Rows] = Field(default=["examples"], validate_default=True)

    @classmethod
    def registry(cls) -> Registry[Any]:
        """The distances."""
        return DISTANCES


class ControlEntry(Entry):
    """A control that takes the guide's place, or `standard`: those that a claim needs."""

    @model_validator(mode="after")
    def _known(self) -> ControlEntry:
        # `none` is the guided condition, which is always planned.
        known = {*CONTROLS.names(), STANDARD} - {NO_CONTROL.name}
        if self.name not in known:
            raise ValueError(str(UnknownNameError("control", self.name, known)))
        if not self.is_standard:
            self.components()
        elif self.options:
            raise ValueError(f"{STANDARD} has no options")
        return self

    @property
    def is_standard(self) -> bool:
        """Whether it stands for the controls that a claim needs, which depend on the row."""
        return self.name == STANDARD

    @classmethod
    def registry(cls) -> Registry[Any]:
        """The controls."""
        return CONTROLS

    def components(self) -> list[Component]:
        """Every point of the options' axes; empty for `standard`."""
        return [] if self.is_standard else super().components()


_REPLICATE = re.compile("[0-9a-f]{16}")


class RivalEntry(Entry):
    """A rival of guidance; one that starts from weights has them in `path` or `replicate`."""

    path: Axis[str | None] = Field(default=[None], validate_default=True)
    replicate: Axis[str | None] = Field(default=[None], validate_default=True)

    @model_validator(mode="after")
    def _built(self) -> RivalEntry:
        # Making each runs its checks of values.
        takes = [rivals.build(component).takes_weights for component in self.components()]
        given = [name for name in ("path", "replicate") if name in self.model_fields_set]
        if not any(takes) and given:
            raise ValueError(
                f"{given[0]} is for rivals that start from weights; {self.name!r} is none"
            )
        if any(None in getattr(self, name) for name in given):
            raise ValueError(f"{given[0]} is null; {self.name!r} needs weights")
        wrong = [e for e in self.replicate if e is not None and not _REPLICATE.fullmatch(e)]
        if wrong:
            raise ValueError(f"replicate: an id is 16 hexadecimal digits (got {wrong[0]!r})")
        if any(takes) and len(given) != 1:
            raise ValueError(
                f"{self.name!r} needs weights: give path, a file, or replicate, the id of a "
                "finished replicate of the store"
            )
        return self

    @classmethod
    def registry(cls) -> Registry[Any]:
        """The rivals."""
        return RIVALS


class MappingEntry(Entry):
    """A rule that pairs guide taps with target taps."""

    @classmethod
    def registry(cls) -> Registry[Any]:
        """The mappings."""
        return MAPPINGS
