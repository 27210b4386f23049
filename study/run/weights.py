"""Copies weights of pretrained guides and rivals into the store before anything trains."""

from __future__ import annotations

from collections.abc import Iterator

from study.errors import SpecError
from study.plan.progress import Progress
from study.plan.weights import Use, fit
from trainers import architectures, tasks
from trainers.conditions.weights import Weights
from trainers.errors import UserError
from trainers.guides import pretrained
from trainers.store.store import CorruptError


def provide(progress: Progress) -> None:
    """Copy the weights that replicates still to train need into the store.

    Raises SpecError where weights cannot be had or do not fit, and says what to do.
    """
    needed: dict[Weights, dict[Use, None]] = {}
    for weights, use in _uses(progress):
        needed.setdefault(weights, {})[use] = None
    for weights, networks in needed.items():
        try:
            tensors = pretrained.stored(progress.store, weights)
        except CorruptError as error:
            raise SpecError(f"weights: {weights.name}: {error}: train it anew first") from error
        in_store = tensors is not None
        if tensors is None:
            try:
                tensors = pretrained.obtain(weights)
            except (OSError, UserError) as error:
                first = next(iter(networks))
                raise SpecError(f"{first.named}: weights: {weights.name}: {error}") from error
        for use in networks:
            built = tasks.build(use.task)
            network = architectures.build_on_meta(use.architecture, built.input, built.output)
            fit(tensors, weights, use, network)
        if not in_store:
            pretrained.put(progress.store, weights, tensors)


def _uses(progress: Progress) -> Iterator[tuple[Weights, Use]]:
    for replicate in progress.todo:
        condition = replicate.condition
        if condition.weights is not None:
            yield condition.weights, Use(condition.target, condition.task)
        for term in condition.terms:
            if term.guide.weights is not None:
                yield term.guide.weights, Use(term.guide.architecture, condition.task)
        rival = condition.rival
        if rival is not None and rival.weights is not None:
            yield rival.weights, Use(condition.target, condition.task, start=True)
