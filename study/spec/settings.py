"""Pydantic models of the settings in `trainers`: the same fields, types, bounds and checks.

The dataclasses of `trainers` define them once and know nothing of specs. In a block of a spec every
list is a grid axis, so each field holds the list of its values.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache, reduce
from operator import or_
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from trainers.conditions.cache_form import DType
from trainers.conditions.training import MAX_STEPS
from trainers.options import Bounds

#: Limit of a study's replicates: a person reads its tables.
MAX_REPLICATES = 1_000_000
#: Limit of a guide's cache, in GiB.
MAX_GIB = 10**9

T = TypeVar("T")


def as_list(value: Any) -> Any:
    """A value of a spec as a list: a single value is a list of one."""
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
PositiveFloat = Annotated[float, Number, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Number, Field(ge=0, allow_inf_nan=False)]


def size(axes: Iterable[Sequence[Any]]) -> int:
    """Number of points of a grid of these axes."""
    return math.prod(len(values) for values in axes)


def check_size(number: int) -> None:
    """Raise ValueError when a grid holds more points than a study may have."""
    if number > MAX_REPLICATES:
        raise ValueError(f"more than {MAX_REPLICATES:,} combinations or seeds; split the study")


class Model(BaseModel):
    """A part of a spec; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Settings(Model):
    """The fields of a dataclass; None stands for its default."""

    dataclass: ClassVar[type[Any]]

    def given(self) -> dict[str, Any]:
        """The fields that were given, in the order of the dataclass."""
        names = [name for name in type(self).model_fields if name in self.model_fields_set]
        return {name: getattr(self, name) for name in names}


class Single(Settings):
    """The fields of a dataclass, one value each."""

    @property
    def value(self) -> Any:
        """The dataclass; raises ValueError where it refuses these values."""
        return self.dataclass(**self.given())


class Axes(Settings):
    """The fields of a dataclass as axes."""

    @property
    def axes(self) -> dict[str, list[Any]]:
        """Values of the given fields; a value that has axes itself is replaced by its points."""
        return {
            name: [point for value in values for point in _points(value)]
            for name, values in self.given().items()
        }

    @property
    def num_points(self) -> int:
        """Number of points of the axes."""
        return size(self.axes.values())

    @property
    def points(self) -> list[Any]:
        """The dataclass at every point of the axes; raises ValueError where it refuses one."""
        return points_of(self.dataclass, self.axes)


def points_of(dataclass: type[T], axes: dict[str, list[Any]]) -> list[T]:
    """A value of the dataclass for every point of the axes."""
    points = itertools.product(*axes.values())
    return [dataclass(**dict(zip(axes, point, strict=True))) for point in points]


def _points(value: Any) -> list[Any]:
    return value.points if isinstance(value, Axes) else [value]


@lru_cache
def axes_of(dataclass: type[Any]) -> Any:
    """A model of `Axes` for a dataclass of `trainers`, to be derived from."""
    return _model(dataclass, Axes)


@lru_cache
def single_of(dataclass: type[Any]) -> Any:
    """A model of `Single` for a dataclass of `trainers`, to be derived from."""
    return _model(dataclass, Single)


def _model(dataclass: type[Any], base: type[Settings]) -> type[Settings]:
    hints = get_type_hints(dataclass, include_extras=True)
    entries: dict[str, Any] = {}
    for item in fields(dataclass):
        kind: Any = _kind(hints[item.name])
        default = ... if item.default is MISSING else None
        entries[item.name] = (Axis[kind] if base is Axes else kind, default)
    model = create_model(dataclass.__name__, __base__=base, **entries)
    model.dataclass = dataclass
    return model


def _kind(hint: Any) -> Any:
    """An annotation of `trainers` for pydantic; text and booleans are not taken for numbers."""
    if get_origin(hint) is Annotated:
        kind, *notes = get_args(hint)
        (bounds,) = (note for note in notes if isinstance(note, Bounds))
        return Annotated[_kind(kind), Field(ge=bounds.ge, gt=bounds.gt, le=bounds.le)]
    if isinstance(hint, type) and is_dataclass(hint):
        return axes_of(hint)
    if hint in (int, bool):
        return Annotated[hint, Field(strict=True)]
    if hint is float:
        return Annotated[float, Number, Field(allow_inf_nan=False)]
    parts = get_args(hint)
    return reduce(or_, map(_kind, parts)) if type(None) in parts else hint


class CacheBudget(Model):
    """Limit of one guide's cached features at one seed, in GiB of the store, and their type."""

    max_gib: Annotated[PositiveFloat, Field(le=MAX_GIB)]
    dtype: DType = "float32"
