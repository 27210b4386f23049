"""The key `search` of a spec: the same tuning budget for every arm of a block.

An arm is a baseline, a guided condition or a control. `budget` trials of each are trained at the
tuning `seeds`, and the one with the best mean of the metric `select` is trained at the seeds of the
study. The tuning seeds are never reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from analysis.contract import VALIDATION
from study.errors import explain
from study.spec import dotted
from study.spec.mixtures import MixtureEntry
from study.spec.settings import Model, Number, PositiveInt
from trainers import tasks
from trainers.errors import UserError
from trainers.registry import Component, UnknownNameError

#: Most trials of an arm: more than any study trains.
MAX_BUDGET = 10_000
#: Parts of a block whose settings may be searched, and of these the parts of guidance.
PARTS = ("train", "targets", "schedule", "distances", "mapping", "guides")
GUIDANCE = ("schedule", "distances", "mapping", "guides")
#: The key for the first guide's share of a mixture of two, whose weights keep their sum.
SHARE = "guides.share"
#: Keys of entries that say which entry it is, or that have another form.
_OTHERS = {"name": "an arm is of one {part}", "train": "give train.lr and the like instead"}

Scalar = bool | int | float | str | None


class Dimension(Model):
    """The values of one key: a list of them, or all from `low` to `high` (on a log scale)."""

    values: tuple[Scalar, ...] | None = None
    low: Annotated[int | float, Number, Field(allow_inf_nan=False)] | None = None
    high: Annotated[int | float, Number, Field(allow_inf_nan=False)] | None = None
    log: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="before")
    @classmethod
    def _form(cls, raw: Any) -> Any:
        if isinstance(raw, list | tuple):
            if not raw:
                raise ValueError("give one value or more")
            if not all(isinstance(value, Scalar) for value in raw):
                raise ValueError("give a list of numbers, names, true, false or null")
            return {"values": tuple(raw)}
        if not isinstance(raw, Mapping) or "values" in raw:
            raise ValueError("give a list of values, or low and high (and log: true) of a number")
        return raw

    @model_validator(mode="after")
    def _range(self) -> Dimension:
        if self.values is not None:
            return self
        if self.low is None or self.high is None:
            raise ValueError("give both low and high")
        if self.low >= self.high:
            raise ValueError(f"low is {self.low:g} and high is {self.high:g}: low must be below")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low:g}; on a log scale it must be above 0")
        return self

    @property
    def bounds(self) -> tuple[int | float, int | float]:
        """The ends of its range."""
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high

    @property
    def corners(self) -> tuple[Scalar, ...]:
        """All its values, or the ends of its range."""
        return self.bounds if self.values is None else self.values

    @property
    def num_values(self) -> float:
        """Number of its values; infinite for a range of real numbers."""
        if self.values is not None:
            return len(self.values)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return self.high - self.low + 1
        return math.inf

    def held(self, value: Any) -> Scalar:
        """A value of it; raises ValueError where it has no such value."""
        if self.values is not None:
            if repr(value) not in map(repr, self.values):
                raise ValueError(f"{value!r} is none of its values: {list(self.values)}")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{value!r} is no number")
        elif not self.bounds[0] <= value <= self.bounds[1]:
            raise ValueError(f"{value!r} is not from {self.low:g} to {self.high:g}")
        found: Scalar = value
        return found

    def as_read(self, values: tuple[Any, ...]) -> Dimension:
        """A copy with its corners as the spec reads them; raises ValueError where they do not fit.

        What is a real number to the spec is one here, also where it is written as `1`.
        """
        if not all(isinstance(value, Scalar) for value in values):
            raise ValueError("this key cannot be searched: its values are no single ones")
        if self.values is not None:
            if len(set(map(repr, values))) != len(values):
                raise ValueError("a value stands twice")
            return self.model_copy(update={"values": values})
        if any(isinstance(value, bool | str | None) for value in values):
            raise ValueError("low and high are for numbers; give a list of values")
        return self.model_copy(update=dict(zip(("low", "high"), values, strict=True)))


def _seeds(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("give a list of one tuning seed or more, none of them a seed of the study")
    if len(set(map(str, value))) != len(value):
        raise ValueError("a seed stands twice")
    return value


def _points(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not all(isinstance(p, Mapping) for p in value):
        raise ValueError("give a list of points, each with one value for every key of space")
    return value


def _space(value: Any) -> Any:
    if not isinstance(value, Mapping) or not value:
        raise ValueError("give one dotted key or more, each with its values")
    return value


class Search(Model):
    """`budget` trials of each arm, asked for in batches of `batch`, at the tuning `seeds`.

    The first trials are `points_to_evaluate`, each arm with its own keys of them: with the settings
    that a study would have without a search, no arm ends below these for want of luck.
    """

    budget: Annotated[PositiveInt, Field(le=MAX_BUDGET)]
    space: Annotated[dict[str, Dimension], BeforeValidator(_space)]
    seeds: Annotated[
        tuple[Annotated[int, Field(ge=0, lt=2**63, strict=True)], ...], BeforeValidator(_seeds)
    ]
    select: str
    batch: Annotated[PositiveInt, Field(le=MAX_BUDGET)] = 4
    points_to_evaluate: Annotated[tuple[dict[str, Scalar], ...], BeforeValidator(_points)] = ()

    @model_validator(mode="after")
    def _counted(self) -> Search:
        if len(self.points_to_evaluate) > self.budget:
            raise ValueError(
                f"points_to_evaluate has {len(self.points_to_evaluate)} points, more than the "
                f"budget of {self.budget} trials"
            )
        return self

    def space_of(self, num_guides: int) -> dict[str, Dimension]:
        """The part of the space that arms with so many guides have."""
        return {
            key: dimension
            for key, dimension in self.space.items()
            if (num_guides > 0 or key.partition(".")[0] not in GUIDANCE)
            and (num_guides == 2 or key != SHARE)
        }

    def cut(self) -> Search:
        """The search of `--debug`: one batch, at one seed."""
        budget = min(self.budget, self.batch)
        first = self.points_to_evaluate[:budget]
        return self.model_copy(
            update={"budget": budget, "seeds": self.seeds[:1], "points_to_evaluate": first}
        )

    @property
    def metric(self) -> str:
        """The bare name of the metric that chooses."""
        return self.select.removeprefix(VALIDATION)


def resolved(
    search: Search, raw: Mapping[str, Any], model: type[Model]
) -> tuple[Search, list[str]]:
    """A block's search with values as the spec reads them, and a line for each mistake.

    Each value is set in the block's `raw` content as an axis would set it, and validated there as a
    block (`model`).
    """
    defaults = {part: model.model_fields[part].default for part in ("distances", "mapping")}
    content = defaults | {key: value for key, value in raw.items() if key != "search"}
    space, mistakes = dict[str, Dimension](), list[str]()
    for key, dimension in search.space.items():
        with _noted(mistakes, "search.space", key, model, content):
            if key == SHARE:
                space[key] = _shares(dimension, model.model_validate(content))
            else:
                space[key] = dimension.as_read(_read(key, dimension.corners, content, model))
    points = []
    for number, given in enumerate(() if mistakes else search.points_to_evaluate):
        place, point = f"search.points_to_evaluate[{number}]", dict[str, Scalar]()
        if given.keys() != space.keys():
            keys = ", ".join(given) or "none"
            mistakes.append(f"{place}: it has {keys}; give each key of space: {', '.join(space)}")
            continue
        for key, dimension in space.items():
            with _noted(mistakes, place, key, model, content):
                value = given[key]
                read = value if key == SHARE else _read(key, (value,), content, model)[0]
                point[key] = dimension.held(read)
        points.append(point)
    return search.model_copy(update={"space": space, "points_to_evaluate": tuple(points)}), mistakes


@contextmanager
def _noted(
    mistakes: list[str], place: str, key: str, model: type[Model], content: Mapping[str, Any]
) -> Iterator[None]:
    """Adds a line for what is wrong with a key at a place of the spec."""
    try:
        yield
    except ValidationError as error:
        mistakes += [f"{place}.{line}" for line in explain(error, model, content)]
    except dotted.PathError as error:
        mistakes.append(f"{place}.{error}")
    except ValueError as error:
        mistakes.append(f"{place}.{key}: {error}")


def _read(
    key: str, values: Iterable[Scalar], content: Mapping[str, Any], model: type[Model]
) -> tuple[Any, ...]:
    """Values of a key as a block reads them, each set in its content as an axis would set it."""
    path = key.split(".")
    _check(path)
    blocks = [model.model_validate(dotted.with_value(content, path, v)) for v in values]
    return tuple(dotted.value_at(getattr(b, path[0]), path[1:]) for b in blocks)


def _shares(dimension: Dimension, block: Any) -> Dimension:
    """The shares of a first guide, real numbers; raises ValueError where they do not fit."""
    corners = [value for value in dimension.corners if not isinstance(value, bool | str | None)]
    if len(corners) < len(dimension.corners) or not all(0 < value < 1 for value in corners):
        raise ValueError(
            "a share lies between 0 and 1, ends not among them: a guide alone is a row of its own"
        )
    mixtures = (entry for entry in block.guides if isinstance(entry, MixtureEntry))
    mixed = [entry for entry in mixtures if len(entry.mix) == 2]
    if not mixed:
        raise ValueError("it is for mixtures of two guides, and guides has none")
    if any(len(entry.weights) > 1 or 0 in entry.weights[0] for entry in mixed):
        raise ValueError("give each mixture one list of weights above 0: their sum is what counts")
    return dimension.as_read(tuple(map(float, corners)))


def _check(path: list[str]) -> None:
    part, *rest = path
    if part == "guides":
        raise ValueError(
            f"of guides, {SHARE} can be searched: the first guide's share of a mixture"
        )
    if part not in PARTS:
        raise UnknownNameError("part of a block that can be searched:", part, PARTS)
    if not rest:
        raise ValueError(f"give a key of {part}, such as {part}.lr")
    if part != "train" and rest[0] in _OTHERS:
        raise ValueError(_OTHERS[rest[0]].format(part=part.removesuffix("s")))


def unknown_metric(search: Search, components: Iterable[Component]) -> Iterator[str]:
    """A line where `select` is no validation metric of every task of the block."""
    for component in components:
        try:
            known = tasks.build(component).higher_is_better
        except UserError:
            # Planning reports what is wrong with the task itself.
            continue
        names = [VALIDATION + name for name in known]
        if search.select not in names:
            yield f"search.select: {UnknownNameError('metric', search.select, names)}"


def clashes(blocks: Iterable[tuple[Search | None, Iterable[int]]]) -> Iterator[str]:
    """Lines about the searches of a study's blocks, each given with its study seeds.

    All blocks have a search or none has, and no tuning seed is a seed of the study.
    """
    found = list(blocks)
    searches = [search for search, _ in found if search is not None]
    if searches and len(searches) < len(found):
        yield "search: some grids have it and some do not; give it at the top: all rows are tuned"
    seeds = {seed for _, own in found for seed in own}
    for search in searches:
        for seed in search.seeds:
            if seed in seeds:
                yield (
                    f"search.seeds: {seed} is a seed of the study; allowed: seeds that are in no "
                    f"seeds: of it ({min(seeds)} to {max(seeds)})"
                )
