"""Rehearsal of conditions on a few examples, so that mistakes show before anything is trained.

Each network of a study runs forward and backward once, a few examples of the task's splits are
scored, and each way of guiding computes its distance and gradient, all by the code that trains.
Networks above `MAX_PARAMETERS` run without values: only shapes are checked. If data is absent,
random inputs of its shape stand in for it.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from trainers import architectures, controls, distances, mappings, rivals, tasks
from trainers.architectures import ARCHITECTURES, Network, taps
from trainers.architectures.forward_pass import BATCH, forward_pass, tap_shapes
from trainers.architectures.taps import LOGITS
from trainers.conditions.condition import Condition, Rival
from trainers.conditions.guidance import NO_CONTROL, Guide, Term
from trainers.conditions.registries import CONTROLS, RIVALS
from trainers.controls import FeatureSource, SourceContext
from trainers.distances import DISTANCES, Distance
from trainers.errors import UserError
from trainers.extensions.user_modules import where
from trainers.guides.features import NoCache
from trainers.guides.frozen import FrozenGuide, untrained
from trainers.registry import Component
from trainers.runtime.devices import copied, on_cpu
from trainers.runtime.precision import Precision, autocast
from trainers.runtime.streams import Streams, isolated
from trainers.tasks import ABSENT, TASKS, Split, Task, is_scored
from trainers.tasks.batches import Batch, noise, random_labels
from trainers.tasks.checks import TaskError, check_augmented, check_split, clusters_of
from trainers.training import evaluation
from trainers.training.term_loss import TermLoss

#: Most parameters of a network that is run with values.
MAX_PARAMETERS = 50_000_000
#: Number of examples of each split that are scored.
_SCORED = 2
#: Number of examples of a batch, and of a batch of padded sequences or of random inputs.
_FEW, _PADDED = 3, 16
_CPU = torch.device("cpu")


class RehearsalError(UserError):
    """A condition that cannot be trained; the message names the entry and says what is wrong."""


@dataclass(frozen=True)
class _TargetPass:
    """A batch and the target's tap outputs (batch, ...) for it."""

    batch: Batch
    outputs: dict[str, Tensor]


class Rehearsal:
    """Tries out conditions, each network and each way of guiding it once."""

    def __init__(self) -> None:
        self._task = cache(_task_of)
        self._target_pass = cache(self._run_alone)
        self._guide = cache(self._frozen)
        self._tried: set[Any] = set()
        self._scored: set[Component] = set()

    def try_out(self, condition: Condition) -> None:
        """Raise RehearsalError if the condition cannot be trained.

        Program errors (other than ValueError and RuntimeError, and outside users' modules) are
        raised unchanged.
        """
        key = _key(condition)
        if key in self._tried:
            return
        self._tried.add(key)
        with on_cpu(), isolated(os.cpu_count() or 1):
            if not condition.terms:
                self._target(condition)
            for term in condition.terms:
                self._guided(condition, term)

    def _target(self, condition: Condition, size: int = 0) -> _TargetPass | None:
        """Run the target on a batch of `size`, at least a few and at most its smallest batch."""
        with _named(f"task {TASKS.label(condition.task)!r}"):
            task = self._task(condition.task)
        few = _FEW - 1 if task.input.kind == "tokens" else _FEW
        size = min(max(size, few), _smallest_batch(condition, task))
        if size == task.input.shape[0] and task.input.kind == "tokens":
            # So that batch and time cannot be taken for each other.
            size += 1
        label, on = ARCHITECTURES.label(condition.target), TASKS.label(condition.task)
        rival = _alone(condition)
        by = "" if rival is None else f" with rival {RIVALS.label(rival.method)!r}"
        with _named(f"architecture {label!r} on task {on!r}{by}"):
            precision = condition.train.precision
            return self._target_pass(condition.task, condition.target, precision, size, rival)

    def _run_alone(
        self,
        task_name: Component,
        architecture: Component,
        precision: Precision,
        size: int,
        treatment: Rival | None,
    ) -> _TargetPass | None:
        """Run forward, loss, backward and scores; None if the network is too large for that."""
        task = self._task(task_name)
        if not _is_small(architecture, task):
            found = forward_pass(architecture, task.input, task.output)
            _check_outputs(task, BATCH, found.outputs)
            return None
        torch.manual_seed(0)
        network = architectures.build(architecture, task.input, task.output).train()
        rival = None if treatment is None else rivals.build(treatment.method)
        if treatment is not None and rival is not None:
            rival.initialise(network, task)
            rival.constrain(network, task, treatment.control)
        batch = _batch(task, size)
        with taps.record(network, (*network.taps, LOGITS)) as recorded:
            with autocast(_CPU, precision):
                network(copied(batch.inputs, _CPU))
            outputs = dict(recorded)
        _check_outputs(task, size, outputs)
        logits, labels = outputs[LOGITS].float(), batch.labels.clone()
        loss = task.loss(logits, labels) if rival is None else rival.loss(task, logits, labels)
        _check_learning(network, loss)
        self._score(task_name, task, network)
        leaves = {
            tap: output.detach().requires_grad_(output.requires_grad)
            for tap, output in outputs.items()
        }
        return _TargetPass(batch, leaves)

    def _score(self, name: Component, task: Task, network: Network) -> None:
        """Score a few validation examples; examples of all splits for a task's first network."""
        splits = ["validation"] if name in self._scored else list(task.splits)
        if name not in self._scored and task.data != ABSENT:
            clusters_of(task)
        self._scored.add(name)
        # One random input shows as much as two.
        count = 1 if task.data == ABSENT else _SCORED
        for split in splits:
            inputs, labels = task.splits[split]
            part = Split(inputs[:count], labels[:count])
            # A few examples may have no label that counts; the split as a whole has.
            if bool(is_scored(part.labels).any()):
                evaluation.evaluate(network, task, part, _CPU)

    def _guided(self, condition: Condition, term: Term) -> None:
        distance = distances.build(term.distance)
        with _named(f"task {TASKS.label(condition.task)!r}"):
            task = self._task(condition.task)
        target_pass = self._target(condition, _rows_needed(condition, term, distance, task))
        target = ARCHITECTURES.label(condition.target)
        guide = ARCHITECTURES.label(term.guide.architecture)
        control = "" if term.control == NO_CONTROL else f" (control {CONTROLS.label(term.control)})"
        label = DISTANCES.label(term.distance)
        with _named(f"distance {label!r} of target {target!r} and guide {guide!r}{control}"):
            source = self._source(condition, term, task)
            if target_pass is None or source is None:
                return
            loss = _term_loss(condition, term, task, source)
            batch, outputs = target_pass.batch, target_pass.outputs
            shown = source.features(batch, 0)
            controls.check_features(term.control.name, shown, source.taps, len(batch.labels))
            if loss.learns:
                loss.connect(outputs, source.evaluate(batch.inputs, batch.labels))
            total, _ = loss(outputs, batch, 0)
            if total.dim() or not bool(total.isfinite()):
                raise ValueError(f"it is {total.tolist()}; it must be one finite number")
            total.backward()  # type: ignore[no-untyped-call]

    def _source(self, condition: Condition, term: Term, task: Task) -> FeatureSource | None:
        """The feature source, its guide untrained; None if the guide is too large to run."""
        guide, control = term.guide, controls.of(term)
        names = architectures.build_on_meta(guide.architecture, task.input, task.output).taps
        guide_taps = mappings.taps_of(term.distance)
        control.check(task)
        frozen = None
        if control.runs_guide:
            frozen = self._guide(
                condition.task, guide.architecture, guide.batch_norm == "batch",
                guide_taps, condition.train.precision,
            )  # fmt: skip
            if frozen is None:
                return None
        source = control.source(
            SourceContext(
                task=task, taps=guide_taps or names, rows=term.rows,
                shapes=partial(
                    tap_shapes, guide.architecture, task.input, task.output, guide_taps or names
                ),
                streams=Streams("target", condition.task, condition.target, 0),
                guide=frozen, cached=NoCache(),
            )
        )  # fmt: skip
        if not hasattr(source, "taps"):
            label = CONTROLS.label(term.control)
            raise ValueError(f"control {label!r}: its source returned {source!r}, no FeatureSource")
        return source

    def _frozen(
        self,
        task_name: Component,
        architecture: Component,
        by_batch: bool,
        taps: tuple[str, ...] | None,
        precision: Precision,
    ) -> FrozenGuide | None:
        task = self._task(task_name)
        if not _is_small(architecture, task):
            return None
        # Neither trained nor calibrated, which makes no difference to shapes and errors.
        guide = Guide(
            architecture=architecture, state="untrained",
            batch_norm="batch" if by_batch else "eval",
        )  # fmt: skip
        network = untrained(guide, task, Streams("guide", task_name, architecture, 0))
        return FrozenGuide(
            network, task, _CPU, taps=taps, coupled=by_batch, precision=precision,
        )  # fmt: skip


def _key(condition: Condition) -> Any:
    """Key of everything that decides whether a condition can be trained."""
    train = condition.train.precision, condition.train.batch_size
    terms = tuple(
        (
            term.guide.architecture, term.guide.batch_norm == "batch", controls.works_like(term),
            term.distance, term.rows, term.mapping, term.shown_at,
        )
        for term in condition.terms
    )  # fmt: skip
    inputs = None if condition.guidance is None else condition.guidance.guide_inputs
    return condition.task, condition.target, train, terms, inputs, _alone(condition)


def _alone(condition: Condition) -> Rival | None:
    """The rival of a condition without its guides and weights; None if it has none."""
    rival = condition.rival
    return None if rival is None else replace(rival, guidance=None, weights=None)


def _task_of(component: Component) -> Task:
    """The task, its data checked; a copy with random data if the data is absent."""
    task = tasks.build(component)
    if task.data != ABSENT:
        # Loading the splits checks them.
        _ = task.splits
        if task.num_train is None:
            check_split(task, "sample", _sample(task, _FEW))
        elif task.augmented:
            check_augmented(task)
        return task
    stand_in = copy.copy(task)
    for name in ("splits", "train", "validation", "test", "fingerprint"):
        vars(stand_in).pop(name, None)
    stand_in.augmented = False
    # One random split is enough: the content of the others is unknown too.
    vars(stand_in)["splits"] = {"validation": (made := _random(task))}
    vars(stand_in)["train"] = made
    return stand_in


def _random(task: Task) -> Split:
    generator = torch.Generator().manual_seed(0)
    inputs = noise(task.input, _PADDED, generator)
    return Split(inputs, random_labels(task, _PADDED, generator))


def _sample(task: Task, size: int) -> Split:
    return task.sample(size, torch.Generator().manual_seed(0))


def _batch(task: Task, size: int) -> Batch:
    if task.num_train is None:
        return Batch(*_sample(task, size), None)
    inputs, labels = task.train
    # Examples with a scored label, because the loss is not defined without any.
    scored = is_scored(labels).reshape(len(labels), -1)
    chosen = scored.any(1).nonzero()[:size, 0]
    if len(chosen) < size:
        chosen = torch.arange(size)
    return Batch(inputs[chosen], labels[chosen], None)


def _smallest_batch(condition: Condition, task: Task) -> int:
    train = condition.train
    if task.num_train is None:
        return train.batch_size
    return min(len(task.train.labels), task.num_train // train.epoch_steps(task.num_train))


def _is_small(architecture: Component, task: Task) -> bool:
    network = architectures.build_on_meta(architecture, task.input, task.output)
    return sum(parameter.numel() for parameter in network.parameters()) <= MAX_PARAMETERS


def _check_outputs(task: Task, size: int, outputs: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless logits and tap outputs have the shapes that `Network` requires."""
    answer = outputs[LOGITS]
    lead = (size, task.input.shape[0]) if task.output.per_position else (size,)
    expected = (*lead, task.output.num_outputs)
    if answer.shape != expected:
        of = "values" if task.output.num_classes is None else "classes"
        named = f"(batch, time, {of})" if task.output.per_position else f"(batch, {of})"
        raise ValueError(
            f"it answers a batch of {size} with {tuple(answer.shape)}; the task needs answers "
            f"{named}: {tuple(expected)}"
        )
    if not answer.is_floating_point():
        raise ValueError(f"it answers with {answer.dtype}; answers are floating-point numbers")
    for tap, output in outputs.items():
        if output.dim() < 2 or len(output) != size:
            raise ValueError(
                f"tap {tap!r} gives {tuple(output.shape)} for a batch of {size}; a tap is "
                "(batch, ...): put the batch first"
            )


def _check_learning(network: Network, loss: Tensor) -> None:
    """Raise ValueError unless the loss can train the network and its weights can be stored."""
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError("it has no parameters that learn")
    if not isinstance(loss, Tensor) or loss.dim() or not bool(loss.isfinite()):
        given = loss.tolist() if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"the loss of its first batch is {given}; it must be one finite number")
    if not loss.requires_grad:
        raise ValueError("no gradient of the loss reaches it: is its answer detached?")
    loss.backward()  # type: ignore[no-untyped-call]
    for name, value in network.state_dict().items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f"its state holds {name!r}, a {type(value).__name__}: only tensors are stored"
            )


def _rows_needed(condition: Condition, term: Term, distance: Distance, task: Task) -> int:
    """Number of examples in a batch on which the distance is defined."""
    if term.rows == "tokens":
        return 0
    if type(distance).check_shapes is not Distance.check_shapes:
        return condition.train.batch_size
    padded = task.input.padding is not None and term.rows == "positions"
    return max(distance.guiding_rows, _PADDED if padded else 0)


def _term_loss(condition: Condition, term: Term, task: Task, source: FeatureSource) -> TermLoss:
    network = architectures.build_on_meta(condition.target, task.input, task.output)
    pairs = controls.pairs_of(term, network.taps, source.taps)
    return TermLoss(term, source, pairs, task)


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Turn ValueError, RuntimeError and exceptions of users' modules into RehearsalError.

    The message begins with `what`, the entry that is tried.
    """
    try:
        yield
    except RehearsalError:
        raise
    except TaskError as error:
        # It names the task.
        raise RehearsalError(str(error)) from error
    except Exception as error:
        place = where(error)
        if place is None and not isinstance(error, ValueError | RuntimeError):
            raise
        raise RehearsalError(f"{what}: {_cause(error, place)}") from error


def _cause(error: Exception, place: str | None) -> str:
    first = (str(error).splitlines() or [""])[0]
    if place is None and isinstance(error, ValueError):
        return first
    at = "" if place is None else f"{place}: "
    return f"{at}{type(error).__name__}: {first}"
