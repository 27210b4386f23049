"""Floating-point operations of a training, counted from shapes: nothing is computed.

Networks run forward once without values under PyTorch's counter. A backward pass counts as two
forward passes. Evaluation, the optimiser, and all operations but products, convolutions and
attention are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch

from trainers import controls, tasks
from trainers.architectures.forward_pass import ForwardPass, forward_pass
from trainers.architectures.taps import LOGITS, to_rows
from trainers.conditions.cache_form import DEFAULT_BYTES
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Term
from trainers.registry import Component
from trainers.tasks import Task

#: Operators of the distance of one pair, forward and backward.
PAIR_CALLS = 10


def training(condition: Condition) -> float:
    """Floating-point operations of one replicate's training; loads no data.

    A step is a forward and a backward pass of the target. A guided step adds the distances of the
    mapped pairs, and the guide's forward pass unless its features are cached: those are computed
    once for all training examples.
    """
    run = _Run.of(condition)
    return 3 * run.target.flops * run.steps + sum(
        _of_term(condition, term, run.task, run.target, run.guided_steps)
        for term in condition.terms
    )


def calls(condition: Condition) -> float:
    """Operators that one replicate's training starts, about, whatever its batch size.

    A step is three times the target's forward pass. A guided step adds `PAIR_CALLS` for each mapped
    pair, and the guide's forward pass unless its features are cached.
    """
    run = _Run.of(condition)
    total = 3 * run.target.calls * run.steps
    for term in condition.terms:
        guide = _forward(condition, term.guide.architecture, run.task)
        num_pairs = sum(1 for _ in _rows(term, run.task, run.target, guide))
        each = PAIR_CALLS * num_pairs
        if term.runs_guide and not (
            run.task.num_train is not None and is_cached(condition, term, guide, run.task)
        ):
            each += guide.calls
        total += each * run.guided_steps
    return total


class _Run(NamedTuple):
    """The target of a training, a batch of it, and its steps, those of alignment counted."""

    task: Task
    target: ForwardPass
    steps: int
    guided_steps: int

    @classmethod
    def of(cls, condition: Condition) -> _Run:
        task = tasks.build(condition.task)
        steps, align_steps = condition.train_steps(task.num_train), condition.align_steps
        guidance = condition.guidance
        guided_steps = 0 if guidance is None else len(guidance.schedule.guided_steps(steps))
        target = _forward(condition, condition.target, task)
        return cls(task, target, steps + align_steps, align_steps + guided_steps)


def _of_term(
    condition: Condition, term: Term, task: Task, target: ForwardPass, steps: int
) -> float:
    """Operations of a term's distances and guide in `steps` guided steps."""
    guide = _forward(condition, term.guide.architecture, task)
    total = 0.0
    for (*leading, n, p), q in _rows(term, task, target, guide):
        total += steps * math.prod(leading) * pair_flops(n, p, q)
    if not term.runs_guide:
        return total
    if task.num_train is not None and is_cached(condition, term, guide, task):
        steps = min(steps, condition.train.epoch_steps(task.num_train))
    return total + guide.flops * steps


def _forward(condition: Condition, architecture: Component, task: Task) -> ForwardPass:
    """The forward pass of an architecture for a batch of the condition's training."""
    return forward_pass(architecture, task.input, task.output).of_batch(condition.train.batch_size)


def pair_flops(n: int, p: int, q: int) -> int:
    """Operations of a distance between features (n, p) with gradient and (n, q) without.

    Counted for linear CKA: from the Gram matrices (n, n) of both, or from the products of features
    (p, q), (p, p) and (q, q), whichever is less.
    """
    return min(2 * n * n * (3 * p + q), 2 * n * (3 * p * q + 3 * p * p + q * q))


def _rows(
    term: Term, task: Task, target: ForwardPass, guide: ForwardPass
) -> Iterator[tuple[torch.Size, int]]:
    """Shape (..., n, p) of the target's rows and width q of the guide's, for each pair."""
    kind, control = task.input.kind, controls.of(term)
    shown = control.shown(task, term.rows, guide.outputs)
    for pair in controls.pairs_of(term, target.taps, guide.taps):
        rows = to_rows(target.outputs[pair.target], term.rows, kind).shape
        yield rows, to_rows(shown[pair.guide], term.rows, kind).shape[-1]


def is_cached(condition: Condition, term: Term, guide: ForwardPass, task: Task) -> bool:
    """Whether the guide's features of all training examples are computed once."""
    assert task.num_train is not None
    if task.augmented or term.guide.batch_norm == "batch":
        return False
    if term.cache is not None:
        return term.cache.form != "live"
    values = sum(output.numel() for tap, output in guide.outputs.items() if tap != LOGITS)
    return 4 * values * task.num_train // condition.train.batch_size <= DEFAULT_BYTES
