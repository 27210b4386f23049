"""What defines a training run, and the content id that follows from it.

A condition is all that defines a training run except its seed; a condition with a seed is a
replicate. A replicate's id is a hash of everything that changes its result: no paths, resources,
study names or logging enter it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from trainers import tasks
from trainers.architectures import ARCHITECTURES
from trainers.architectures.taps import Rows
from trainers.conditions.cache_form import Cache
from trainers.conditions.schedule import Schedule
from trainers.conditions.weights import Weights
from trainers.distances import DISTANCES
from trainers.errors import UserError
from trainers.mappings import MAPPINGS
from trainers.registry import Component, Entry, Registry, check_fields
from trainers.runtime.precision import Precision
from trainers.tasks import TASKS

#: Raised whenever the training loop gives other numbers for the same condition and seed.
RESULT_VERSION = 2

Role = Literal["guide", "baseline", "guided", "control"]
State = Literal["trained", "untrained"]
#: What the guide sees of a batch: the target's inputs, or another augmentation of its examples.
GuideInputs = Literal["same", "other_augmentation"]
BatchNorm = Literal["calibrated", "eval", "batch"]
Optimizer = Literal["adam", "adamw", "sgd"]
LRSchedule = Literal["constant", "cosine", "linear", "step"]

_ID_LENGTH = 16
_SEED_MARK = "@seed@"


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a network is trained; every field enters the replicate's id.

    `batch_size` is global over workers; `steps` and `epochs` exclude each other, and `steps` is 0
    where pretrained weights are only evaluated; `report_every` is
    in steps (default: an epoch, or a tenth of the run where data is streamed); `precision` is that
    of the networks' forward passes in training; `compile` compiles the one that learns. With
    `lr_schedule: step` the learning rate falls to a tenth after every `lr_step` of the run.
    """

    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 100
    optimizer: Optimizer = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    lr_schedule: LRSchedule = "constant"
    grad_clip: float | None = None
    threads: int = 1
    precision: Precision = "float32"
    report_every: int | None = None
    compile: bool = False
    lr_step: float | None = None

    def __post_init__(self) -> None:
        check_fields(self, "train")
        for name in ("epochs", "steps", "batch_size", "threads", "report_every"):
            count = getattr(self, name)
            if count is not None and count < (0 if name == "steps" else 1):
                raise UserError(f"train: {name} is {count}; allowed: 1 or more")
        if (self.epochs is None) == (self.steps is None):
            raise UserError(
                f"train: epochs is {self.epochs} and steps is {self.steps}; give exactly one"
            )
        if (self.lr_schedule == "step") != (self.lr_step is not None):
            raise UserError(
                f"train: lr_schedule is {self.lr_schedule} and lr_step is {self.lr_step}; lr_step, "
                "a fraction of the run, goes with lr_schedule: step, and that with it"
            )
        if self.lr_step is not None and not 0 < self.lr_step <= 1:
            raise UserError(f"train: lr_step is {self.lr_step}; allowed: above 0, up to 1")

    def num_steps(self, num_train: int | None) -> int:
        """Optimisation steps on `num_train` examples (None: streamed; then `steps` is needed)."""
        if self.steps is not None:
            return self.steps
        if num_train is None:
            raise UserError(
                f"train.epochs is {self.epochs}, but the task generates its data without end; "
                "give train.steps"
            )
        assert self.epochs is not None
        return self.epochs * self.epoch_steps(num_train)

    def epoch_steps(self, num_train: int) -> int:
        """Batches of an epoch; they differ in size by one example at most."""
        return -(-num_train // self.batch_size)

    def report_steps(self, num_train: int | None) -> int:
        """Steps between reports."""
        if self.report_every is not None:
            return self.report_every
        if num_train is not None:
            return self.epoch_steps(num_train)
        return max(1, self.num_steps(None) // 10)


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
    reduction: Literal["sum", "mean"] = "sum"
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


@dataclass(frozen=True, kw_only=True)
class Condition:
    """All that defines a training run except its seed.

    In a condition of role `guide`, `target` is the guide's architecture: it is what learns, or has
    `weights` that are evaluated (`train.steps` is 0): once, because no seed takes part.
    """

    role: Role
    task: Component
    target: Component
    train: TrainSettings
    guidance: Guidance | None = None
    weights: Weights | None = None

    def __post_init__(self) -> None:
        if (self.train.steps == 0) != (self.weights is not None):
            raise UserError(
                f"train: steps is {self.train.steps}; allowed: 1 or more, and 0 for pretrained "
                "weights alone"
            )
        assert self.weights is None or self.role == "guide", self
        guided = self.role in ("guided", "control")
        assert guided == (self.guidance is not None), self
        if self.guidance is not None:
            assert (self.guidance.control == "none") == (self.role == "guided"), self

    @property
    def guide_condition(self) -> Condition | None:
        """The replicate that must be finished first: the trained guide's own training.

        None where the guide is pretrained: its weights are there already.
        """
        if self.guidance is None or self.guidance.guide.train is None:
            return None
        guide = self.guidance.guide
        return Condition(
            role="guide", task=self.task, target=guide.architecture, train=self.guidance.guide.train
        )

    def with_steps(self, steps: int) -> Condition:
        """The same condition cut to `steps`, its guide too."""
        guidance = self.guidance
        if guidance is not None and guidance.guide.train is not None:
            train = replace(guidance.guide.train, epochs=None, steps=steps)
            guidance = replace(guidance, guide=replace(guidance.guide, train=train))
        if guidance is not None and guidance.schedule.align_first is not None:
            first = replace(guidance.schedule.align_first, steps=steps)
            guidance = replace(guidance, schedule=replace(guidance.schedule, align_first=first))
        # What is evaluated alone has no steps to be cut.
        steps = steps if self.weights is None else 0
        train = replace(self.train, epochs=None, steps=steps)
        return replace(self, train=train, guidance=guidance)


def replicate_ids(condition: Condition, seeds: Iterable[int]) -> list[str]:
    """Content ids, one a seed: 16 hex digits of the SHA-256 of the canonical JSON.

    Of weights that are evaluated alone it is one and the same.
    """
    if condition.weights is not None:
        return [_hash(identity(condition))] * len(list(seeds))
    text = json.dumps(
        identity(condition) | {"seed": _SEED_MARK}, sort_keys=True, separators=(",", ":")
    )
    before, after = text.split(f'"{_SEED_MARK}"')
    return [
        hashlib.sha256(f"{before}{seed}{after}".encode()).hexdigest()[:_ID_LENGTH] for seed in seeds
    ]


def replicate_id(condition: Condition, seed: int) -> str:
    """The content id of one replicate."""
    return replicate_ids(condition, [seed])[0]


def identity(condition: Condition) -> dict[str, Any]:
    """Everything that changes a replicate's result, its seed excepted, as plain JSON values.

    A baseline, a guided run and a control are all `target`s: the role follows from the guidance.
    """
    content: dict[str, Any] = {
        "role": "guide" if condition.role == "guide" else "target",
        "task": _task_identity(condition.task),
        "target": _versioned(ARCHITECTURES, condition.target),
        "train": _train_identity(condition.train),
        "result_version": RESULT_VERSION,
    }
    if condition.weights is not None:
        content["weights"] = condition.weights.content
    guidance = condition.guidance
    if guidance is not None:
        guide = asdict(guidance.guide)
        # Came later: where there are none, old ids stay valid.
        del guide["weights"]
        if guidance.guide.weights is not None:
            guide["weights"] = guidance.guide.weights.content
        if guidance.guide.train is not None:
            guide["train"] = _train_identity(guidance.guide.train)
        guide["architecture"] = _versioned(ARCHITECTURES, guidance.guide.architecture)
        if condition.train.precision != "float32" and guidance.runs_guide:
            # It was float32 whatever the target's, once.
            guide["precision"] = condition.train.precision
        content["guidance"] = {
            "guide": guide,
            "control": guidance.control,
            "distance": _versioned(DISTANCES, guidance.distance),
            "rows": guidance.rows,
            "mapping": _mapping_identity(guidance.mapping),
            "reduction": guidance.reduction,
            "schedule": guidance.schedule.identity(),
        }
        if guidance.guide_inputs != "same":
            content["guidance"]["guide_inputs"] = guidance.guide_inputs
        cache = None if guidance.cache is None else guidance.cache.identity()
        if cache is not None:
            content["guidance"]["cache"] = cache
    return content


def _train_identity(train: TrainSettings) -> dict[str, Any]:
    content = asdict(train)
    # Came later: where they are off, old ids stay valid.
    for name in ("compile", "lr_step"):
        if not content[name]:
            del content[name]
    return content


def _task_identity(task: Component) -> dict[str, Any]:
    content, digest = _versioned(TASKS, task), tasks.build(task).data
    return content if digest is None else content | {"data": digest}


def guide_id(condition: Condition, seed: int) -> str:
    """The content id of a guided condition's guide: of its own training, if it is trained.

    A pretrained guide is one for all seeds.
    """
    if condition.guide_condition is not None:
        return replicate_id(condition.guide_condition, seed)
    assert condition.guidance is not None
    guide = condition.guidance.guide
    content = {
        "role": "untrained guide",
        "task": _task_identity(condition.task),
        "architecture": _versioned(ARCHITECTURES, guide.architecture),
        "batch_norm": guide.batch_norm,
        "seed": seed,
        "result_version": RESULT_VERSION,
    }
    if guide.weights is not None:
        content |= {"role": "pretrained guide", "weights": guide.weights.content, "seed": None}
    return _hash(content)


def _hash(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_ID_LENGTH]


def _mapping_identity(mapping: Component) -> Any:
    # A bare name, as when this was the only mapping: old ids stay valid.
    if mapping == MAPPINGS.component("evenly_spaced"):
        return mapping.name
    return _versioned(MAPPINGS, mapping)


def _versioned(registry: Registry[Any], component: Component) -> dict[str, Any]:
    entry: Entry[Any] = registry[component.name]
    content = {"name": component.name, "version": entry.version, "options": component.kwargs}
    if entry.origin is not None:
        content["imports"] = entry.origin.digest
    return content


def origins(condition: Condition) -> dict[str, str]:
    """Digests of the user's modules that the condition's entries are from, by module."""
    parts: list[tuple[Registry[Any], Component]] = [
        (TASKS, condition.task),
        (ARCHITECTURES, condition.target),
    ]
    guidance = condition.guidance
    if guidance is not None:
        parts += [
            (ARCHITECTURES, guidance.guide.architecture),
            (DISTANCES, guidance.distance),
            (MAPPINGS, guidance.mapping),
        ]
    found = [registry[component.name].origin for registry, component in parts]
    return {origin.name: origin.digest for origin in found if origin is not None}
