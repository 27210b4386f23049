"""Checks of a task's specs, metrics and splits, before anything trains on them."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import torch
from torch import Tensor

from trainers.data.lazy import LazyInputs
from trainers.errors import UserError
from trainers.tasks.specs import IGNORE, InputSpec, OutputSpec, Split, is_scored

if TYPE_CHECKING:
    from trainers.registry import Component

#: Fewest rows of a split on which networks are compared, because of unbiased CKA.
MIN_ROWS = 4
#: Names of metrics that MLflow, Parquet columns and rules accept unchanged.
METRIC = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")

_NOTHING = object()


class Checked(Protocol):
    """The attributes of a task that are checked."""

    input: InputSpec
    output: OutputSpec
    component: Component | None

    @property
    def num_train(self) -> int | None:
        """Number of training examples; None if batches are generated."""

    @property
    def answers_with(self) -> str | None:
        """The field of `output` that it needs."""

    @property
    def primary_metric(self) -> str:
        """The metric that a study is about."""

    @property
    def higher_is_better(self) -> Mapping[str, bool]:
        """Whether higher is better, by metric."""

    @property
    def train(self) -> Split:
        """The training split."""

    @property
    def test(self) -> Split:
        """The test split."""

    @property
    def clusters(self) -> Tensor | None:
        """Cluster of each test example."""

    def chance(self, metric: str) -> float | None:
        """Score of a guess, if it is known."""

    def augment(self, example: Tensor, generator: torch.Generator) -> Tensor:
        """One training input augmented."""


class TaskError(UserError):
    """A task that cannot be trained on; the message names it and says what is wrong."""


def check_specs(task: Checked) -> None:
    """Raise TaskError unless `input`, `output`, `num_train` and the metrics make sense."""
    for name in ("input", "output", "num_train"):
        if inspect.getattr_static(task, name, _NOTHING) is _NOTHING:
            _refuse(task, f"it has no {name!r}; set self.{name} in __init__")
    for name in ("primary_metric", "higher_is_better"):
        if inspect.getattr_static(task, name, _NOTHING) is _NOTHING:
            _refuse(task, f"it has no {name!r}; set it on the class")
    _check_input(task, task.input)
    _check_output(task, task.output)
    count = inspect.getattr_static(task, "num_train")
    # A property may read all data to know.
    if not (count is None or isinstance(count, property) or (type(count) is int and count >= 1)):
        _refuse(task, f"num_train is {count!r}; give 1 or more, or None where data is drawn")
    _check_metrics(task)


def _check_input(task: Checked, spec: Any) -> None:
    if not isinstance(spec, InputSpec):
        _refuse(task, f"input is {spec!r:.80}; give InputSpec(kind=..., shape=...)")
    if not isinstance(spec.shape, tuple):
        _refuse(task, f"input.shape is {spec.shape!r:.80}; give a tuple of sizes")
    if not spec.shape or any(type(size) is not int or size < 1 for size in spec.shape):
        _refuse(task, f"input.shape is {spec.shape}; give sizes of 1 or more")
    dimensions = {"image": 3, "signal": 2, "tokens": 1}
    if not isinstance(spec.kind, str) or spec.kind not in dimensions:
        _refuse(task, f"input.kind is {spec.kind!r}; allowed: {', '.join(dimensions)}")
    if len(spec.shape) != dimensions[spec.kind]:
        _refuse(
            task,
            f"input.shape is {spec.shape}; inputs of kind {spec.kind} have "
            f"{dimensions[spec.kind]} dimensions beside the examples",
        )
    if spec.kind == "tokens" and (type(spec.vocabulary) is not int or spec.vocabulary < 1):
        _refuse(task, f"input.vocabulary is {spec.vocabulary}; tokens need the number of them")


def _check_output(task: Checked, spec: Any) -> None:
    if not isinstance(spec, OutputSpec):
        _refuse(task, f"output is {spec!r:.80}; give OutputSpec(num_classes=...)")
    sizes = {name: getattr(spec, name) for name in ("num_classes", "num_values")}
    given = {name: size for name, size in sizes.items() if size is not None}
    if len(given) != 1:
        _refuse(
            task, f"output has {' and '.join(given) or 'no size'}; give num_classes or num_values"
        )
    ((name, size),) = given.items()
    if type(size) is not int or size < 1:
        _refuse(task, f"output.{name} is {size}; give 1 or more")
    if task.answers_with not in (None, name):
        _refuse(task, f"output has {name}; its loss and metrics need {task.answers_with}")
    if name == "num_values" and spec.per_position:
        _refuse(task, "output has num_values, per_position; values are of whole examples")


def _check_metrics(task: Checked) -> None:
    metrics = task.higher_is_better
    if not isinstance(metrics, Mapping) or not metrics:
        _refuse(task, f"higher_is_better is {metrics!r}; give metric: whether higher is better")
    for name, higher in metrics.items():
        if not isinstance(name, str) or not METRIC.fullmatch(name):
            _refuse(
                task,
                f"higher_is_better: metric {name!r:.120}: a name is letters, digits, _, . and -, "
                "at most 100, and begins with a letter or a digit",
            )
        if not isinstance(higher, bool):
            _refuse(task, f"higher_is_better: {name} is {higher!r}; give True or False")
        chance = task.chance(name)
        if chance is not None and not (isinstance(chance, int | float) and math.isfinite(chance)):
            _refuse(task, f"chance of {name} is {chance!r:.80}; give a finite number, or None")
    if task.primary_metric not in metrics:
        known = ", ".join(metrics)
        _refuse(
            task,
            f"primary_metric is {task.primary_metric!r}; give one of higher_is_better: {known}",
        )


def check_tally(task: Checked, sums: Any) -> Mapping[str, float]:
    """Sums of a part of a split; raises TaskError unless they are a mapping."""
    if not isinstance(sums, Mapping):
        _refuse(task, f"tally gives a {type(sums).__name__}; give a mapping of names to sums")
    return sums


def check_scores(task: Checked, scores: Mapping[str, Any]) -> dict[str, float]:
    """Scores as numbers; raises TaskError unless they are those of `higher_is_better`."""
    if not isinstance(scores, Mapping) or scores.keys() != task.higher_is_better.keys():
        given = ", ".join(map(str, scores)) if isinstance(scores, Mapping) else repr(scores)
        _refuse(
            task,
            f"score gives {given or 'nothing'}; higher_is_better names "
            f"{', '.join(task.higher_is_better)}: give the same",
        )
    try:
        return {name: float(value) for name, value in scores.items()}
    except (TypeError, ValueError):
        _refuse(task, f"score gives {scores!s:.200}; give a number for each metric")


def check_splits(task: Checked, splits: Any) -> None:
    """Raise TaskError unless all splits are as the task's specs say."""
    needed = ("validation", "test") if task.num_train is None else ("train", "validation", "test")
    if not isinstance(splits, Mapping):
        _refuse(task, f"load gives a {type(splits).__name__}; give split name: Split(...)")
    for name in needed:
        if name not in splits:
            _refuse(task, f"load gives no split {name!r} ({', '.join(splits)}); needed: {needed}")
        check_split(task, name, splits[name])
    count = inspect.getattr_static(task, "num_train")
    if isinstance(count, int) and count != len(splits["train"].labels):
        _refuse(
            task,
            f"num_train is {count}, and its training split has {len(splits['train'].labels)} "
            "examples; make them equal",
        )


def check_split(task: Checked, name: str, split: Split) -> None:
    """Raise TaskError unless one split is as the task's specs say."""
    if not isinstance(split, Split):
        _refuse(task, f"split {name!r} is a {type(split).__name__}; give Split(inputs, labels)")
    inputs, labels = split
    if not isinstance(inputs, Tensor | LazyInputs) or not isinstance(labels, Tensor):
        kinds = f"{type(inputs).__name__} and {type(labels).__name__}"
        _refuse(task, f"split {name!r} holds {kinds}; give tensors")
    if len(inputs) != len(labels):
        _refuse(task, f"split {name!r} has {len(inputs)} inputs and {len(labels)} labels")
    _check_size(task, name, len(labels))
    if tuple(inputs.shape[1:]) != tuple(task.input.shape):
        _refuse(
            task,
            f"split {name!r} has inputs of shape {tuple(inputs.shape[1:])}; input.shape is "
            f"{tuple(task.input.shape)}",
        )
    if isinstance(inputs, Tensor):
        _check_inputs(task, name, inputs)
    _check_labels(task, name, labels)


def clusters_of(task: Checked) -> Tensor:
    """Cluster (N,) of each test example, int64; raises TaskError if they are none. Loads its data.

    Examples of a task without clusters are clusters of their own.
    """
    size = len(task.test.labels)
    clusters: Any = task.clusters
    if clusters is None:
        return torch.arange(size)
    if not isinstance(clusters, Tensor) or clusters.dtype != torch.int64:
        kind = getattr(clusters, "dtype", type(clusters).__name__)
        _refuse(task, f"clusters are {kind}; give an int64 tensor")
    if clusters.shape != (size,) or int(clusters.min()) < 0:
        _refuse(
            task,
            f"clusters have shape {tuple(clusters.shape)} and lowest value {int(clusters.min())}; "
            f"give a number of 0 or more for each of the {size} test examples",
        )
    return clusters


def check_augmented(task: Checked) -> None:
    """Raise TaskError unless augmented inputs are as the task's specs say; loads its data."""
    generator = torch.Generator().manual_seed(0)
    lazy = task.train.lazy
    made: Any
    if lazy is not None:
        made = lazy.augmented(0, generator)
    else:
        made = task.augment(task.train.inputs[:1].clone()[0], generator)
    if not isinstance(made, Tensor):
        _refuse(task, f"augment gives a {type(made).__name__}; give the augmented tensor")
    if made.shape != task.input.shape or made.dtype != torch.float32:
        _refuse(
            task,
            f"augment gives {tuple(made.shape)} of type {_short(made.dtype)}; input.shape is "
            f"{tuple(task.input.shape)}, and inputs are float32",
        )


def _check_size(task: Checked, name: str, size: int) -> None:
    positions = task.input.shape[0] if task.input.kind == "tokens" else 1
    least = 1 if name in ("train", "sample") else math.ceil(MIN_ROWS / positions)
    if size < least:
        _refuse(task, f"split {name!r} has {size} examples; it needs {least} or more")


def _check_inputs(task: Checked, name: str, inputs: Tensor) -> None:
    tokens = task.input.kind == "tokens"
    dtype = torch.int64 if tokens else torch.float32
    if inputs.dtype != dtype:
        what = "tokens are" if tokens else "they are scaled, usually, and"
        _refuse(
            task,
            f"split {name!r} has inputs of type {_short(inputs.dtype)}; {what} {_short(dtype)} "
            f"(inputs.{'long' if tokens else 'float'}())",
        )
    if tokens:
        low, high = int(inputs.min()), int(inputs.max())
        if low < 0 or high >= (task.input.vocabulary or 0):
            _refuse(
                task,
                f"split {name!r} has tokens from {low} to {high}; allowed: 0 to "
                f"{(task.input.vocabulary or 0) - 1} (input.vocabulary is {task.input.vocabulary})",
            )
    elif not bool(inputs.isfinite().all()):
        _refuse(task, f"split {name!r} has inputs that are not finite (NaN or infinity)")


def _check_labels(task: Checked, name: str, labels: Tensor) -> None:
    if task.output.num_classes is None:
        _check_values(task, name, labels)
    else:
        _check_classes(task, name, labels, task.output.num_classes)


def _check_values(task: Checked, name: str, labels: Tensor) -> None:
    if labels.dtype != torch.float32:
        _refuse(
            task,
            f"split {name!r} has labels of type {_short(labels.dtype)}; values are float32 "
            "(labels.float())",
        )
    width = task.output.num_values
    if labels.dim() != 2 or labels.shape[1] != width:
        _refuse(
            task,
            f"split {name!r} has labels of shape {tuple(labels.shape)}; give (examples, {width}) "
            f"(output.num_values is {width})",
        )
    if not bool(labels.isfinite().all()):
        _refuse(task, f"split {name!r} has labels that are not finite (NaN or infinity)")


def _check_classes(task: Checked, name: str, labels: Tensor, num_classes: int) -> None:
    if labels.dtype != torch.int64:
        _refuse(
            task,
            f"split {name!r} has labels of type {_short(labels.dtype)}; they are int64 "
            "(labels.long())",
        )
    dimensions = 2 if task.output.per_position else 1
    if labels.dim() != dimensions:
        shape = "(examples, time)" if dimensions == 2 else "(examples,)"
        _refuse(task, f"split {name!r} has labels of shape {tuple(labels.shape)}; give {shape}")
    scored = labels[is_scored(labels)]
    if not len(scored):
        _refuse(task, f"split {name!r} has no label: all are {IGNORE}, which is not scored")
    low, high = int(scored.min()), int(scored.max())
    if low < 0 or high >= num_classes:
        _refuse(
            task,
            f"split {name!r} has labels from {low} to {high}; allowed: 0 to "
            f"{num_classes - 1} (output.num_classes is {num_classes}), and "
            f"{IGNORE} for what is not scored",
        )


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _refuse(task: Checked, message: str) -> NoReturn:
    name = type(task).__name__ if task.component is None else task.component.name
    raise TaskError(f"task {name!r}: {message}")
