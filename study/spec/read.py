"""Reads the spec of a study; every mistake in it is named by its field.

`read` turns YAML or a mapping into a `Spec` of blocks. In a block every list is a grid axis, so
each field holds the list of its values; `study.plan.expand` takes their product.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from analysis.names import check_name
from study.errors import SpecError, as_written, at, explain
from study.spec import dotted, mixtures
from study.spec.entries import (
    ControlEntry,
    DistanceEntry,
    MappingEntry,
    RivalEntry,
    ScheduleEntry,
    TargetEntry,
    TaskEntry,
    Train,
    num_settings,
)
from study.spec.expectations import Claims, wrong_metrics
from study.spec.mixtures import Guides
from study.spec.search import Search, clashes, resolved, unknown_metric
from study.spec.settings import (
    MAX_REPLICATES,
    Axis,
    CacheBudget,
    Model,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    as_list,
    check_size,
    single_of,
    size,
)
from study.spec.user_modules import imported
from trainers import controls, rivals
from trainers.conditions.condition import Data
from trainers.conditions.guidance import GuideInputs, Reduction, State
from trainers.conditions.training import updated
from trainers.distances import DISTANCES
from trainers.extensions.module import Module
from trainers.mappings import MAPPINGS
from trainers.registry import Component, UnknownNameError
from trainers.store.checkpoint import CheckpointEvery

#: Limit of workers a trial, and of CPUs or GPUs a worker: more than any cluster has.
MAX_PER_TRIAL = 10_000
#: Baselines beside the plain one: at equal compute, and both arms at best validation.
Baseline = Literal["matched", "best_validation"]
#: Keys of a block that name registered entries.
_ENTRIES = ("task", "targets", "guides", "controls", "rivals", "distances", "mapping")
_STUDY_KEYS = ("name", "resources", "checkpoint_every", "cache", *Claims.model_fields)
_TOP = (*_STUDY_KEYS, "imports", "grids")


def _seeds(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | list | tuple):
        raise ValueError("give a number of seeds or a list of them")
    if isinstance(value, int):
        if value < 1:
            raise ValueError("give 1 seed or more")
        check_size(value)
        return list(range(value))
    if not value:
        raise ValueError("give 1 seed or more")
    if len(set(map(str, value))) != len(value):
        raise ValueError("a seed stands twice")
    return list(value)


class Block(Model):
    """One grid: every list is an axis, every combination a condition."""

    task: Axis[TaskEntry]
    data: Axis[Data] = Field(default=["fixed"])
    targets: Axis[TargetEntry]
    guides: Annotated[list[Guides], BeforeValidator(as_list), Field(default=[])]
    states: Axis[State] = Field(default=["trained", "untrained"])
    controls: Annotated[
        list[ControlEntry],
        BeforeValidator(as_list),
        Field(default=["standard"], validate_default=True),
    ]
    rivals: Annotated[list[RivalEntry], BeforeValidator(as_list), Field(default=[])]
    baselines: Annotated[list[Baseline], BeforeValidator(as_list), Field(default=[])]
    distances: Axis[DistanceEntry] = Field(default=[DISTANCES.default], validate_default=True)
    mapping: Axis[MappingEntry] = Field(default=[MAPPINGS.default], validate_default=True)
    reduction: Axis[Reduction] = Field(default=["sum"])
    guide_inputs: Axis[GuideInputs] = Field(default=["same"])
    schedule: Axis[ScheduleEntry] = Field(default=[{}], validate_default=True)
    seeds: Annotated[
        list[Annotated[int, Field(ge=0, lt=2**63, strict=True)]],
        BeforeValidator(_seeds),
        Field(default=5, validate_default=True),
    ]
    train: Train = Train()
    guide_train: Train = Train()
    search: Search | None = None
    #: The key of its grid, `grids[1].`, and its content as it was written.
    _where: str = PrivateAttr("")
    _written: Mapping[str, Any] = PrivateAttr({})

    @classmethod
    def of(cls, written: Mapping[str, Any], where: str) -> Block:
        """The block of a spec's content, in the grid `where`; raises ValidationError."""
        block = cls.model_validate(written)
        block._where, block._written = where, written
        return block

    def place(self, key: str, index: int) -> str:
        """The place in the spec of an entry of a list: `grids[1].targets[0]`."""
        return self._where + at(as_written([key, index], self._written))

    @model_validator(mode="after")
    def _guided(self) -> Block:
        if not self.guides and not self.rivals:
            raise ValueError("guides: is needed; a study of rivals alone has rivals instead")
        for index, entry in enumerate(() if self.guides else self.rivals):
            if any(rivals.build(c).align_first is not None for c in entry.components()):
                raise ValueError(f"rivals[{index}]: {entry.name} aligns with guides: give guides")
        return self

    @model_validator(mode="after")
    def _one_order(self) -> Block:
        mixtures.check_orders(self.guides)
        return self

    @model_validator(mode="after")
    def _lengths(self) -> Block:
        learns: list[tuple[str, tuple[Train, ...]]] = [
            *((f"target {e.name!r}", (self.train, e.train)) for e in self.targets),
            *(
                (f"guide {e.name!r}", (self.train, self.guide_train, e.train))
                for _, e in mixtures.parts(self.guides)
                if None in e.weights
            ),
        ]
        for who, layers in learns:
            if not any(layer.epochs or layer.steps for layer in layers):
                raise ValueError(f"train: give epochs or steps; {who} has neither")
        return self

    @model_validator(mode="after")
    def _small(self) -> Block:
        # A lower bound: axes of guide_train and batch_norm multiply it where they apply.
        points = [
            sum(entry.num_points for entry in self.task),
            sum(e.num_points * num_settings(self.train, e.train) for e in self.targets),
            sum(entry.num_points for entry in self.guides) or 1,
            sum(entry.num_points * len(entry.rows) for entry in self.distances),
            sum(entry.num_points for entry in self.schedule),
            len(self.states) + sum(self._num_states(control) for control in self.named_controls),
            sum(entry.num_points for entry in self.mapping),
            len(self.reduction) * len(self.guide_inputs) * len(self.seeds) * len(self.data),
        ]
        check_size(math.prod(points))
        return self

    @property
    def named_controls(self) -> list[Component]:
        """Controls that are named, each once; those of `standard` depend on the row."""
        found = (component for entry in self.controls for component in entry.components())
        return list(dict.fromkeys(found))

    def _num_states(self, control: Component) -> int:
        """Number of states in which a control has a guide."""
        built = controls.build(control)
        return len({*self.states} & {*built.states}) if built.runs_guide else 0


def _count(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if value != "auto" and not (whole and 1 <= value <= MAX_REPLICATES):
        raise ValueError(f"give auto or a whole number of 1 or more, at most {MAX_REPLICATES:,}")
    return value


Count = Annotated[int | Literal["auto"], BeforeValidator(_count)]


class Resources(Model):
    """Resources of a trial, and the number of replicates that share one.

    The `workers` of a trial train one replicate together, each on its shard of the batch.
    """

    workers: Annotated[PositiveInt, Field(le=MAX_PER_TRIAL)] = 1
    cpus_per_worker: Annotated[PositiveFloat, Field(le=MAX_PER_TRIAL)] = 1
    gpus_per_worker: Annotated[NonNegativeFloat, Field(le=MAX_PER_TRIAL)] = 0
    replicates_per_trial: Count = "auto"
    max_concurrent_trials: Count = "auto"

    @property
    def cpus(self) -> float:
        """CPUs of a trial."""
        return self.workers * self.cpus_per_worker

    @property
    def gpus(self) -> float:
        """GPUs of a trial."""
        return self.workers * self.gpus_per_worker

    @model_validator(mode="after")
    def _whole_gpus(self) -> Resources:
        if self.workers > 1 and self.gpus_per_worker % 1:
            raise ValueError(
                f"gpus_per_worker is {self.gpus_per_worker:g} and workers is {self.workers}: "
                "workers of one trial cannot share a GPU (NCCL refuses); give whole GPUs, or "
                "workers: 1"
            )
        return self


class CheckpointTimes(single_of(CheckpointEvery)):  # type: ignore[misc]
    """Interval of checkpoints in steps or seconds; by default one at each report."""

    @model_validator(mode="after")
    def _one(self) -> CheckpointTimes:
        assert self.value
        return self


def _checked_name(value: str) -> str:
    check_name(value)
    return value


class Spec(Claims):
    """A validated study, its axes still to be multiplied out."""

    name: Annotated[str, AfterValidator(_checked_name)]
    imports: tuple[Module, ...] = ()
    resources: Resources = Resources()
    checkpoint_every: CheckpointTimes = CheckpointTimes()
    cache: CacheBudget | None = None
    blocks: list[Block]


def read(
    content: Mapping[str, Any],
    source: str = "spec",
    *,
    imports_from: Path | None = None,
    modules: Sequence[Module] = (),
) -> Spec:
    """Validate a spec given as a mapping; raises SpecError that names every wrong field.

    `source` names the spec in messages. Its modules are imported only where `imports_from` gives
    the folder of their paths: a spec from a store is data, and imports nothing. `modules` are those
    of such a spec that are in use already.
    """
    mistakes: list[str] = []
    blocks: list[Block] = []
    known = [*_TOP, *Block.model_fields, "axes"]
    mistakes += [
        f"{key}: {UnknownNameError('key', key, known)}" for key in content if key not in known
    ]
    if imports_from is not None:
        modules = imported(content.get("imports", ()), imports_from, source)
    shared = {key: content[key] for key in content if key in known and key not in _TOP}
    for where, grid in _grids(content, mistakes):
        blocks += _blocks(_merge(shared, grid), where, mistakes)
    top = {key: content[key] for key in _STUDY_KEYS if key in content}
    try:
        spec = Spec(blocks=blocks, imports=tuple(modules), **top)
        tasks = (task for block in blocks for entry in block.task for task in entry.components())
        mistakes += wrong_metrics(spec, tasks)
    except ValidationError as error:
        mistakes += explain(error, Spec, top)
    else:
        mistakes += _foreign_entries(blocks, modules)
        mistakes += clashes((block.search, block.seeds) for block in blocks)
    if mistakes:
        lines = dict.fromkeys(f"{source}: {mistake}" for mistake in mistakes)
        raise SpecError("\n".join(lines))
    return spec


def _grids(
    content: Mapping[str, Any], mistakes: list[str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if "grids" not in content:
        yield "", {}
        return
    grids = content["grids"]
    if not isinstance(grids, list | tuple) or not grids:
        mistakes.append(f"grids: give a list of one block or more (got {grids!r:.80})")
        return
    for index, grid in enumerate(grids):
        if isinstance(grid, Mapping):
            yield f"grids[{index}].", grid
        else:
            mistakes.append(f"grids[{index}]: give a mapping of keys to values (got {grid!r:.80})")


def _blocks(raw: dict[str, Any], where: str, mistakes: list[str]) -> Iterator[Block]:
    axes = raw.pop("axes", {})
    try:
        points = _points(axes)
    except ValueError as error:
        mistakes.append(f"{where}axes: {error} (got {axes!r:.80})")
        return
    for point in points:
        block = raw
        try:
            for path, value in zip(axes, point, strict=True):
                block = dotted.with_value(block, path.split("."), value)
            yield _searched(Block.of(block, where), block, where, mistakes)
        except ValidationError as error:
            mistakes += [where + mistake for mistake in explain(error, Block, block)]
        except dotted.PathError as error:
            mistakes.append(f"{where}axes.{error}")


def _searched(block: Block, raw: Mapping[str, Any], where: str, mistakes: list[str]) -> Block:
    """A block with its search as the spec reads its values."""
    if block.search is None:
        return block
    search, wrong = resolved(block.search, raw, Block)
    tasks = [component for entry in block.task for component in entry.components()]
    mistakes += [where + line for line in (*wrong, *unknown_metric(search, tasks))]
    return block.model_copy(update={"search": search})


def _points(axes: Any) -> Iterator[tuple[Any, ...]]:
    if not isinstance(axes, Mapping) or not all(
        isinstance(path, str) and isinstance(values, list | tuple) and values
        for path, values in axes.items()
    ):
        raise ValueError("give a mapping of dotted keys to lists of values")
    check_size(size(axes.values()))
    return itertools.product(*axes.values())


def _merge(defaults: Mapping[str, Any], block: Mapping[str, Any]) -> dict[str, Any]:
    """A block over the top level's defaults; training settings merge key by key."""
    merged = {**defaults, **block}
    for key in ("train", "guide_train", "schedule", "axes"):
        outer, inner = defaults.get(key), block.get(key)
        if isinstance(outer, Mapping) and isinstance(inner, Mapping):
            merged[key] = updated(outer, inner)
    return merged


def _foreign_entries(blocks: Iterable[Block], modules: Iterable[Module]) -> list[str]:
    """Mistakes for entries that come from modules of another spec read in this process."""
    imported_names = {module.name for module in modules}
    found = []
    for block in blocks:
        for key in _ENTRIES:
            for index, entry in mixtures.parts(getattr(block, key)):
                if isinstance(entry, ControlEntry) and entry.is_standard:
                    continue
                origin = entry.registry()[entry.name].origin
                if origin is not None and origin.name not in imported_names:
                    found.append(
                        f"{block.place(key, index)}: {entry.name!r} is of the module "
                        f"{origin.name}, which is not in imports"
                    )
    return found


__all__ = ["Block", "Resources", "Spec", "SpecError", "read"]
