"""The study spec: what a user writes, validated, with every error named by its field.

`read` turns YAML or a mapping into a `Spec` of blocks. In a block every list is a grid axis, so
each field holds the list of its values; `study.plan` takes their product.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    model_validator,
)

from study import yaml_loader
from trainers.architectures import ARCHITECTURES
from trainers.condition import (
    BatchNorm,
    Control,
    LRSchedule,
    Optimizer,
    Rows,
    Schedule,
    State,
    TrainSettings,
)
from trainers.distances import DISTANCES
from trainers.registry import Component, Registry, UnknownNameError
from trainers.tasks import TASKS

PRESETS = Path(__file__).parent / "presets"
NAME = r"^[a-z0-9][a-z0-9_.-]*$"
#: A study is one experiment that somebody reads, not a data base.
MAX_REPLICATES = 1_000_000

T = TypeVar("T")


class SpecError(ValueError):
    """A spec that cannot be run; the message has a line per mistake."""


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


Axis = Annotated[list[T], BeforeValidator(_as_list), Field(min_length=1)]
PositiveInt = Annotated[int, Field(ge=1, strict=True)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Model(BaseModel):
    """A part of a spec; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Train(Model):
    """Training settings; fields that are not given keep what surrounds them says."""

    epochs: Axis[PositiveInt] | None = None
    steps: Axis[PositiveInt] | None = None
    batch_size: Axis[PositiveInt] | None = None
    optimizer: Axis[Optimizer] | None = None
    lr: Axis[PositiveFloat] | None = None
    weight_decay: Axis[NonNegativeFloat] | None = None
    lr_schedule: Axis[LRSchedule] | None = None
    grad_clip: Axis[PositiveFloat | None] | None = None
    threads: Axis[PositiveInt] | None = None
    precision: Axis[Literal["float32"]] | None = None
    report_every: Axis[PositiveInt | None] | None = None

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
    merged: dict[str, list[Any]] = {}
    for layer in layers:
        given = layer.values()
        if "epochs" in given or "steps" in given:
            merged.pop("epochs", None)
            merged.pop("steps", None)
        merged |= given
    if "epochs" not in merged and "steps" not in merged:
        raise SpecError("train: give epochs or steps; neither is there")
    return [
        TrainSettings(**dict(zip(merged, point, strict=True)))
        for point in itertools.product(*merged.values())
    ]


class ScheduleEntry(Model):
    """`alpha`, and the step after which guidance is off."""

    alpha: Axis[NonNegativeFloat] = Field(default=[1.0], validate_default=True)
    stop_step: Axis[PositiveInt | None] = Field(default=[None], validate_default=True)

    @property
    def schedules(self) -> list[Schedule]:
        """Every point of the axes."""
        points = itertools.product(self.alpha, self.stop_step)
        return [Schedule(alpha=alpha, stop_step=stop) for alpha, stop in points]


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
        self.components()
        return self

    @classmethod
    def registry(cls) -> Registry[Any]:
        """Where names of this kind are registered."""
        raise NotImplementedError

    def components(self) -> list[Component]:
        """Every point of the options' axes; raises ValueError on unknown names and options."""
        registry = self.registry()
        model = _options_model(registry, self.name)
        try:
            axes = model.model_validate(self.options)
        except ValidationError as error:
            raise ValueError("; ".join(explain(error, model))) from error
        names = list(model.model_fields)
        points = itertools.product(*(getattr(axes, name) for name in names))
        return [
            registry.component(self.name, **dict(zip(names, point, strict=True)))
            for point in points
        ]


@lru_cache
def _options_model(registry: Registry[Any], name: str) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for option, parameter in registry[name].parameters.items():
        kind = parameter.annotation
        fields[option] = (Axis[kind], Field(default=[parameter.default]))  # type: ignore[valid-type]
    return create_model(name, __config__=ConfigDict(extra="forbid", strict=False), **fields)


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
    """An architecture that guides; `batch_norm` is for its untrained state."""

    batch_norm: Axis[BatchNorm] = Field(default=["calibrated"], validate_default=True)


class DistanceEntry(Entry):
    """A distance, and what its rows are."""

    rows: Axis[Rows] = Field(default=["examples"], validate_default=True)

    @classmethod
    def registry(cls) -> Registry[Any]:
        """The distances."""
        return DISTANCES


def _seeds(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | list):
        raise ValueError("give a number of seeds or a list of them")
    if isinstance(value, int):
        if value < 1:
            raise ValueError("give 1 seed or more")
        return list(range(value))
    if len(set(map(str, value))) != len(value):
        raise ValueError("a seed stands twice")
    return value


class Block(Model):
    """One grid: every list is an axis, every combination a condition."""

    task: Axis[TaskEntry]
    targets: Axis[TargetEntry]
    guides: Axis[GuideEntry]
    states: Axis[State] = ["trained", "untrained"]
    controls: Annotated[list[Literal["shuffled", "input", "noise"]], BeforeValidator(_as_list)] = []
    distances: Axis[DistanceEntry] = Field(default=["linear_cka"], validate_default=True)
    mapping: Axis[Literal["evenly_spaced"]] = ["evenly_spaced"]
    reduction: Axis[Literal["sum", "mean"]] = ["sum"]
    schedule: Axis[ScheduleEntry] = Field(default=[{}], validate_default=True)
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, strict=True)]],
        BeforeValidator(_seeds),
        Field(min_length=1, default=5, validate_default=True),
    ]
    train: Train
    guide_train: Train = Train()


class Resources(Model):
    """What a trial takes, and how replicates share trials."""

    workers: Literal[1] = 1
    cpus_per_worker: PositiveFloat = 1
    gpus_per_worker: NonNegativeFloat = 0
    replicates_per_trial: PositiveInt | Literal["auto"] = "auto"
    max_concurrent_trials: PositiveInt | Literal["auto"] = "auto"


class Spec(Model):
    """A whole study, its axes still to be multiplied out."""

    name: Annotated[str, Field(pattern=NAME)]
    resources: Resources = Resources()
    blocks: list[Block]


def read(content: Mapping[str, Any], source: str = "spec") -> Spec:
    """Validate a spec given as a mapping; raises SpecError that names every wrong field."""
    raw = dict(content)
    grids = raw.pop("grids", None)
    top = {key: raw.pop(key) for key in ("name", "resources") if key in raw}
    if grids is not None and (not isinstance(grids, list) or not grids):
        raise SpecError(f"{source}: grids: give a list of one block or more")
    mistakes: list[str] = []
    blocks: list[Block] = []
    for index, grid in enumerate(grids or [{}]):
        where = "" if grids is None else f"grids[{index}]."
        if not isinstance(grid, Mapping):
            raise SpecError(f"{source}: {where[:-1]}: a block is a mapping, not {grid!r}")
        blocks += _blocks(_merge(raw, grid), where, mistakes)
    try:
        spec = Spec(blocks=blocks, **top)
    except ValidationError as error:
        mistakes += explain(error, Spec)
    if mistakes:
        lines = dict.fromkeys(f"{source}: {mistake}" for mistake in mistakes)
        raise SpecError("\n".join(lines))
    return spec


def _blocks(raw: dict[str, Any], where: str, mistakes: list[str]) -> Iterator[Block]:
    axes = raw.pop("axes", {})
    if not isinstance(axes, Mapping) or not all(isinstance(v, list) and v for v in axes.values()):
        mistakes.append(f"{where}axes: give a mapping of dotted keys to lists of values")
        return
    if math.prod(len(values) for values in axes.values()) > MAX_REPLICATES:
        raise SpecError(f"{where}axes: more than {MAX_REPLICATES:,} points")
    for point in itertools.product(*axes.values()):
        block = raw
        for path, value in zip(axes, point, strict=True):
            block = _set(block, path.split("."), value)
        try:
            yield Block.model_validate(block)
        except ValidationError as error:
            mistakes += [where + mistake for mistake in explain(error, Block)]


def _set(content: Any, path: Sequence[str], value: Any) -> Any:
    """A copy of raw spec content with a dotted key set, in every entry of a list on the way."""
    if not path:
        return value
    if isinstance(content, list):
        return [_set(item, path, value) for item in content]
    if isinstance(content, str):
        content = {"name": content}
    content = dict(content or {})
    content[path[0]] = _set(content.get(path[0]), path[1:], value)
    return content


def _merge(defaults: Mapping[str, Any], block: Mapping[str, Any]) -> dict[str, Any]:
    """A block over the top level's defaults; training settings merge key by key."""
    merged = {**defaults, **block}
    for key in ("train", "guide_train", "schedule", "axes"):
        outer, inner = defaults.get(key), block.get(key)
        if isinstance(outer, Mapping) and isinstance(inner, Mapping):
            lengths = {"epochs", "steps"}
            drop = lengths if lengths & inner.keys() else set()
            merged[key] = {k: v for k, v in outer.items() if k not in drop} | dict(inner)
    return merged


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """A validation error as lines: field, what is wrong, the value, the nearest match."""
    lines = []
    for mistake in error.errors(include_url=False):
        path = _path(mistake["loc"])
        if mistake["type"] == "extra_forbidden":
            known = _fields_at(model, mistake["loc"][:-1])
            lines.append(f"{path}: {UnknownNameError('key', mistake['loc'][-1], known)}")
            continue
        message = mistake["msg"].removeprefix("Value error, ")
        shown = "" if mistake["type"] == "missing" else f" (got {mistake['input']!r:.80})"
        lines.append(f"{path}: {message}{shown}")
    return lines


def _path(location: Sequence[int | str]) -> str:
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).lstrip(".") or "spec"


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    kind = model
    for part in location:
        if part in kind.model_fields:
            annotation = str(kind.model_fields[str(part)].annotation)
            nested: tuple[type[BaseModel], ...] = (Train, ScheduleEntry, Resources)
            kind = next((n for n in nested if f".{n.__name__}" in annotation), kind)
    fields = list(kind.model_fields)
    return [*fields, "axes"] if kind is Block else fields


def load(source: str | Path) -> tuple[dict[str, Any], Spec]:
    """The spec of a preset's name or a YAML file: as written, and validated.

    Raises SpecError when there is no such preset or file, or it is not a valid spec.
    """
    path = Path(source)
    preset = PRESETS / f"{source}.yaml"
    if path.suffix not in {".yaml", ".yml"} and preset.is_file():
        path = preset
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(
            f"{source}: neither a readable YAML file ({error.strerror}) nor a preset"
            f"{_nearest(str(source))}"
        ) from error
    try:
        content = yaml_loader.parse(text, str(source))
    except ValueError as error:
        raise SpecError(str(error)) from error
    return content, read(content, str(source))


def presets() -> list[str]:
    """Names of the presets, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def _nearest(name: str) -> str:
    nearest = difflib.get_close_matches(name, presets(), n=1)
    known = f" (presets: {', '.join(presets())})"
    return f"; did you mean {nearest[0]!r}?{known}" if nearest else known


__all__ = ["Axis", "Block", "Control", "Resources", "Spec", "SpecError", "load", "presets", "read"]
