"""Tasks: data, loss and metrics. One task is one file of this package.

A task specifies its inputs and outputs (`input`, `output`) without loading data, so that a study
can be planned on machines without the data.
"""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cache, cached_property, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from trainers.data import machine_cache
from trainers.errors import UserError
from trainers.registry import Component, Registry, derived, missing_methods
from trainers.tasks.checks import check_specs, check_splits
from trainers.tasks.specs import ABSENT, InputSpec, OutputSpec, Split

#: Packages that generate or read data.
_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "mnist1d", "tokenizers")


class Task(ABC):
    """Data, loss, predictions and metrics.

    `Classification` and `Regression` have all but the data. A task that is neither states them all.
    """

    input: InputSpec
    output: OutputSpec
    #: Number of training examples; None if batches are generated without end (streamed).
    num_train: int | None
    #: Whether training inputs are augmented, anew in each epoch (tasks with `num_train` only).
    augmented: bool = False
    #: Batch size of forward passes outside training; fixed, because it decides the last bits.
    forward_batch: int = 500
    #: Cluster (int64, 0 or more) of each test example, such as its base image; None if each example
    #: is its own. Intervals over test examples resample clusters.
    clusters: Tensor | None = None
    #: Whether each seed may draw data of its own; the task generates or splits it by `draw_seed`.
    redraws: ClassVar[bool] = False
    #: Seed of the data (tasks that redraw only); None for the data set that all seeds share.
    data_seed: int | None = None
    #: Main metric of studies, one of `higher_is_better`.
    primary_metric: ClassVar[str]
    #: Whether higher is better, for each test metric.
    higher_is_better: ClassVar[Mapping[str, bool]]
    #: The field of `output` that loss and predictions need; None if they take either.
    answers_with: ClassVar[Literal["num_classes", "num_values"] | None] = None
    #: Component from which it was built; None if its constructor was called directly.
    component: Component | None = None
    _data: str | None = ABSENT
    _fingerprint: str | None = None

    @cached_property
    def train(self) -> Split:
        """The training split (tasks with `num_train` only)."""
        return self.splits["train"]

    @cached_property
    def validation(self) -> Split:
        """The split on which choices are made."""
        return self.splits["validation"]

    @cached_property
    def test(self) -> Split:
        """The split that results are scored on, after the last step; no choice is made on it."""
        return self.splits["test"]

    @cached_property
    def splits(self) -> Mapping[str, Split]:
        """All splits by name, loaded at first use.

        One process of a machine loads them, the others map its files. Raises TaskError if they are
        not as `input` and `output` specify.
        """
        key = self._cache_key()
        cached = None if key is None else machine_cache.load("splits", key)
        if cached is None:
            splits = self.load()
            check_splits(self, splits)
            if key is None or any(split.lazy is not None for split in splits.values()):
                return splits
            arrays = {
                f"{name}.{part}": tensor.contiguous().numpy()
                for name, split in splits.items()
                for part, tensor in split._asdict().items()
            }
            machine_cache.save("splits", key, arrays, {"fingerprint": _fingerprint(splits)})
            cached = machine_cache.load("splits", key)
            if cached is None:
                return splits
        self._fingerprint = cached.facts["fingerprint"]
        tensors = {name: torch.from_numpy(array) for name, array in cached.arrays.items()}
        names = dict.fromkeys(name.rpartition(".")[0] for name in tensors)
        return {name: Split(tensors[f"{name}.inputs"], tensors[f"{name}.labels"]) for name in names}

    def _cache_key(self) -> str | None:
        """Key of the splits in the machine's cache; None if they are not cached."""
        sources = _sources(type(self))
        if self.component is None or self.num_train is None or sources is None:
            return None
        entry = TASKS[self.component.name]
        facts = {"name": entry.name, "version": entry.version, "options": self.component.options}
        # Splits that were cached before they were checked are not trusted.
        facts |= {"checked": 1}
        if self.data_seed is not None:
            facts |= {"data_seed": self.data_seed}
        if entry.origin is not None:
            sources = entry.origin.digest
        packages = {package: version_of(package) for package in _PACKAGES}
        return machine_cache.key_of(facts | {"data": self.data, "sources": sources} | packages)

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hex digits of the SHA-256 over all splits, equal for the same data."""
        splits = self.splits
        return self._fingerprint or _fingerprint(splits)

    @property
    def data(self) -> str | None:
        """The `data_digest`, computed once unless the data is absent."""
        if self._data == ABSENT:
            self._data = self.data_digest()
        return self._data

    def data_digest(self) -> str | None:
        """Digest of the data for ids; None if the code generates the data.

        First 16 hex digits of a SHA-256 of the content, or `ABSENT`.
        """
        return None

    def data_places(self) -> list[Path]:
        """Folders in which data is looked for, in order; empty if the code generates it."""
        return []

    def check_data(self) -> None:  # noqa: B027
        """Download missing data if possible.

        Raises FileNotFoundError that says where data was looked for, and what is expected there.
        """

    def draw_seed(self, fixed: int) -> int:
        """Seed of a generator of data: `fixed`, or with `data_seed` another below 2**32."""
        if self.data_seed is None:
            return fixed
        digest = hashlib.sha256(f"{fixed} of data seed {self.data_seed}".encode()).digest()
        return int.from_bytes(digest[:4], "big")

    @abstractmethod
    def load(self) -> Mapping[str, Split]:
        """Load or generate `train` (unless streamed), `validation` and `test`."""

    def sample(self, num_examples: int, generator: torch.Generator) -> Split:
        """A fresh batch of a streamed task, a function of the generator's state alone."""
        raise NotImplementedError(f"{type(self).__name__} does not generate training batches")

    def augment(self, example: Tensor, generator: torch.Generator) -> Tensor:
        """One training input `(*shape)` augmented, a function of the generator's state alone."""
        raise NotImplementedError(f"{type(self).__name__} does not augment its inputs")

    def mask(self, inputs: Tensor) -> Tensor | None:
        """Mask (batch, time) of positions of token inputs that are not padding; None if all are."""
        return None if self.input.padding is None else inputs != self.input.padding

    @abstractmethod
    def loss(self, answers: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of a batch, a scalar, over labels that are scored.

        `answers` are the network's (batch, ..., num_outputs), here and below, and `labels` those of
        a split.
        """

    @abstractmethod
    def predict(self, answers: Tensor) -> Tensor:
        """Predictions of the shape and type of labels; leaves the answers as they are."""

    @abstractmethod
    def tally(self, answers: Tensor, labels: Tensor) -> dict[str, float]:
        """Contribution of a part of a split to the sums from which `score` computes the metrics."""

    @abstractmethod
    def score(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Each metric of `higher_is_better` from the sums of a split; rates are fractions of 1."""

    def chance(self, metric: str) -> float | None:  # noqa: ARG002
        """Score of a guess that knows nothing of the input; None if it is not known.

        It follows from `output` alone, so that it is the same wherever a study is planned, with the
        data or without. A failed replicate counts with it.
        """
        return None


#: The registered tasks.
TASKS: Registry[Callable[..., Task]] = Registry("task", "trainers.tasks")
register = TASKS.register


def build(component: Component, data_seed: int | None = None) -> Task:
    """The task that a component describes; cached, so that replicates share its data.

    With a `data_seed` its data is drawn anew. Raises UserError if its options are wrong, its class
    lacks methods, or it has one data set and gets a `data_seed`, TaskError if its specs or metrics
    are wrong.
    """
    # The cache tells `f(x)` from `f(x, None)`: two tasks, and their data twice in memory.
    return _built(component, data_seed)


@derived
@lru_cache(maxsize=4)
def _built(component: Component, data_seed: int | None) -> Task:
    _check_whole(component.name)
    task: Task = TASKS.make(component)
    task.component = component
    if data_seed is not None and not task.redraws:
        raise UserError(
            f"data is per_seed, and task {component.name!r} has one data set; allowed: fixed, or a "
            f"task that draws its data: {_that_draw()}"
        )
    task.data_seed = data_seed
    check_specs(task)
    return task


def redrawn(component: Component, seed: int) -> Task:
    """The task with another draw of its data for each seed, none of which `data: per_seed` gives.

    Raises UserError if the task has one data set, or draws each batch anew.
    """
    task = build(component)
    if not task.redraws:
        raise UserError(
            f"inputs is redrawn, and task {component.name!r} has one data set; allowed: task, "
            f"noise, or a task that draws its data: {_that_draw()}"
        )
    if task.num_train is None:
        raise UserError(
            f"inputs is redrawn, and task {component.name!r} draws each batch anew; allowed: task, "
            "noise"
        )
    # Seeds of replicates are 0 or more.
    return build(component, -1 - seed)


def _that_draw() -> str:
    return ", ".join(n for n in TASKS.names() if getattr(TASKS[n].factory, "redraws", False))


def _check_whole(name: str) -> None:
    """Raise UserError where a task's class lacks methods that it must have."""
    factory: Any = TASKS[name].factory
    missing = missing_methods(factory)
    if not missing:
        return
    remedy = "" if missing == ["load"] else ": derive from Classification or Regression"
    raise UserError(f"task {name!r} ({factory.__qualname__}) has no {', '.join(missing)}{remedy}")


def clear_cache() -> None:
    """Forget the tasks that were built, and their data."""
    _built.cache_clear()


def _fingerprint(splits: Mapping[str, Split]) -> str:
    digest = hashlib.sha256()
    for name, split in sorted(splits.items()):
        if split.lazy is not None:
            digest.update(f"{name} {split.lazy.digest}".encode())
        for tensor in (split.labels,) if split.lazy is not None else split:
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@cache
def _sources(task: type[Task]) -> str | None:
    """Digest of the files that define a task and of helpers beside them; None without files."""
    digest = hashlib.sha256()
    try:
        for kind in task.__mro__[: task.__mro__.index(Task)]:
            file = Path(inspect.getfile(kind))
            for path in (file, *sorted(file.parent.glob("_*.py"))):
                digest.update(path.read_bytes())
    except (OSError, TypeError):
        return None
    return digest.hexdigest()


@cache
def version_of(package: str) -> str | None:
    """Version of an installed package; None if it is not installed."""
    # Not from the module's `__version__`: importing scikit-learn takes longer than the task itself.
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
