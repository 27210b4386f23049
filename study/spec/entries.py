"""The parts of a spec: values on axes, training settings, schedules, registered names.

Every list is a grid axis, so each field holds the list of its values.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    create_model,
    model_validator,
)

from study.errors import OptionsError, explain
from trainers.architectures import ARCHITECTURES
from trainers.architectures.taps import Rows
from trainers.conditions.guidance import BatchNorm
from trainers.conditions.schedule import AlignFirst, AlignInputs, Decay, Schedule
from trainers.conditions.training import LRSchedule, Optimizer, TrainSettings
from trainers.distances import DISTANCES
from trainers.mappings import MAPPINGS
from trainers.registry import Component, Registry, derived
from trainers.runtime.precision import Precision
from trainers.tasks import TASKS

#: A study is one experiment that somebody reads, not a data base.
MAX_REPLICATES = 1_000_000
#: Steps of a training, or epochs: at a million a second, twelve days.
MAX_STEPS = 10**12
#: Examples of a batch: of a single number each, they take 4 GB.
MAX_BATCH = 10**9
#: More than machines have cores. Not what this one has: `threads` decides the last bits and so
#: belongs to a condition, which other machines may train. OpenMP dies of far more.
MAX_THREADS = 1024

T = TypeVar("T")


def as_list(value: Any) -> Any:
    """A list of one where a spec gives a single value."""
    return list(value) if isinstance(value, list | tuple) else [value]


def _values(value: Any) -> Any:
    values = as_list(value)
    if not values:
        raise ValueError("give one value or more")
    return values


def _countable(value: Any) -> Any:
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("give a number of less than 19 digits")
    return value


def _not_bool(value: Any) -> Any:
    # Python takes True for 1.
    if isinstance(value, bool):
        raise ValueError("give a number")
    return _countable(value)


Axis = Annotated[list[T], BeforeValidator(_values)]
Countable = BeforeValidator(_countable)
Number = BeforeValidator(_not_bool)
PositiveInt = Annotated[int, Field(ge=1, le=MAX_STEPS, strict=True)]
NonNegativeInt = Annotated[int, Field(ge=0, le=MAX_STEPS, strict=True)]
BatchSize = Annotated[int, Field(ge=1, le=MAX_BATCH, strict=True)]
Threads = Annotated[int, Field(ge=1, le=MAX_THREADS, strict=True)]
PositiveFloat = Annotated[float, Number, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Number, Field(ge=0, allow_inf_nan=False)]


def size(axes: Iterable[Sequence[Any]]) -> int:
    """Points of a grid of these axes."""
    return math.prod(len(values) for values in axes)


def check_size(number: int) -> None:
    """Raise ValueError when a grid holds more points than a study may have."""
    if number > MAX_REPLICATES:
        raise ValueError(f"more than {MAX_REPLICATES:,} combinations or seeds; split the study")


class Model(BaseModel):
    """A part of a spec; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Train(Model):
    """Training settings; fields that are not given keep what surrounds them says."""

    epochs: Axis[PositiveInt] | None = None
    steps: Axis[PositiveInt] | None = None
    batch_size: Axis[BatchSize] | None = None
    optimizer: Axis[Optimizer] | None = None
    lr: Axis[PositiveFloat] | None = None
    weight_decay: Axis[NonNegativeFloat] | None = None
    lr_schedule: Axis[LRSchedule] | None = None
    grad_clip: Axis[PositiveFloat | None] | None = None
    threads: Axis[Threads] | None = None
    precision: Axis[Precision] | None = None
    report_every: Axis[PositiveInt | None] | None = None
    compile: Axis[StrictBool] | None = None
    lr_step: Axis[PositiveFloat | None] | None = None

    @model_validator(mode="after")
    def _one_length(self) -> Train:
        if self.epochs is not None and self.steps is not None:
            raise ValueError(
                f"epochs {self.epochs} and steps {self.steps} exclude each other: give one"
            )
        return self

    def values(self) -> dict[str, list[Any]]:
        """The fields that were given."""
        return {name: getattr(self, name) for name in self.model_fields_set}


def train_settings(*layers: Train) -> list[TrainSettings]:
    """Training settings of every point of the axes; later layers override earlier ones.

    `epochs` or `steps` in a layer drops the other one of the layers before.
    """
    axes = _merged(layers)
    return [
        TrainSettings(**dict(zip(axes, point, strict=True)))
        for point in itertools.product(*axes.values())
    ]


def num_settings(*layers: Train) -> int:
    """How many training settings `train_settings` gives."""
    return size(_merged(layers).values())


def thread_counts(*layers: Train) -> list[int]:
    """The values of `threads` alone, for what is evaluated and not trained."""
    threads: list[int] = _merged(layers).get("threads", [TrainSettings(steps=1).threads])
    return threads


def _merged(layers: Iterable[Train]) -> dict[str, list[Any]]:
    merged: dict[str, list[Any]] = {}
    for layer in layers:
        given = layer.values()
        if "epochs" in given or "steps" in given:
            merged.pop("epochs", None)
            merged.pop("steps", None)
        merged |= given
    return merged


class AlignFirstEntry(Model):
    """Alignment alone, before training: for how many steps, on which inputs."""

    steps: Axis[PositiveInt]
    inputs: Axis[AlignInputs] = Field(default=["task"], validate_default=True)

    @property
    def points(self) -> list[AlignFirst]:
        """Every point of the axes."""
        points = itertools.product(self.steps, self.inputs)
        return [AlignFirst(steps=steps, inputs=inputs) for steps, inputs in points]


class ScheduleEntry(Model):
    """`alpha`, and when guidance is on."""

    alpha: Axis[NonNegativeFloat] = Field(default=[1.0], validate_default=True)
    stop_step: Axis[PositiveInt | None] = Field(default=[None], validate_default=True)
    decay: Axis[Decay] = Field(default=["none"], validate_default=True)
    warm_up: Axis[NonNegativeInt] = Field(default=[0], validate_default=True)
    balanced: Axis[StrictBool] = Field(default=[False], validate_default=True)
    align_first: Axis[AlignFirstEntry | None] = Field(default=[None], validate_default=True)

    @model_validator(mode="after")
    def _one_form(self) -> ScheduleEntry:
        check_size(self.num_points)
        # The points check themselves: what excludes what is said where a schedule is defined.
        assert self.schedules
        return self

    @property
    def num_points(self) -> int:
        """Points of the axes."""
        return size(self._axes.values())

    @property
    def schedules(self) -> list[Schedule]:
        """Every point of the axes."""
        axes = self._axes
        return [
            Schedule(**dict(zip(axes, point, strict=True)))
            for point in itertools.product(*axes.values())
        ]

    @property
    def _axes(self) -> dict[str, list[Any]]:
        first = [p for entry in self.align_first for p in (entry.points if entry else [None])]
        return {name: getattr(self, name) for name in type(self).model_fields} | {
            "align_first": first
        }


class Entry(Model):
    """A registered name with options: `name`, or `{name: ..., option: value}`."""

    name: str
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _split(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            return {"name": raw}
        if not isinstance(raw, Mapping) or "name" not in raw:
            raise ValueError("give a name, or a mapping with a name and options")
        own = {key: value for key, value in raw.items() if key in cls.model_fields}
        own.pop("options", None)
        return own | {"options": {key: raw[key] for key in raw if key not in own}}

    @model_validator(mode="after")
    def _known(self) -> Entry:
        check_size(self.num_points)
        self.components()
        return self

    @property
    def num_points(self) -> int:
        """Points of the options' axes."""
        return size(self._axes().values())

    @classmethod
    def registry(cls) -> Registry[Any]:
        """Where names of this kind are registered."""
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
            raise OptionsError(explain(error, model)) from error


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
    """An architecture that learns, with its own training settings where it has any."""

    train: Train = Train()

    @classmethod
    def registry(cls) -> Registry[Any]:
        """The architectures."""
        return ARCHITECTURES


class GuideEntry(TargetEntry):
    """An architecture that guides; `batch_norm` is for its untrained state.

    With `weights`, a name of published ones or a file, its trained state is pretrained.
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
    """A distance, and what its rows are."""

    rows: Axis[Rows] = Field(default=["examples"], validate_default=True)

    @classmethod
    def registry(cls) -> Registry[Any]:
        """The distances."""
        return DISTANCES


class MappingEntry(Entry):
    """A rule that pairs guide taps with target taps."""

    @classmethod
    def registry(cls) -> Registry[Any]:
        """The mappings."""
        return MAPPINGS
