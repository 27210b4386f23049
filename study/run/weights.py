"""Copies weights of pretrained guides into the store before anything trains."""

from __future__ import annotations

from collections.abc import Iterator

from study.errors import SpecError
from study.plan.progress import Progress
from study.plan.weights import fit
from trainers import architectures, tasks
from trainers.conditions.weights import Weights
from trainers.errors import UserError
from trainers.guides import pretrained
from trainers.registry import Component


def provide(progress: Progress) -> None:
    """Copy the weights that replicates still to train need into the store.

    Raises SpecError where weights cannot be had or do not fit, and says what to do.
    """
    needed: dict[Weights, dict[tuple[Component, Component], None]] = {}
    for weights, architecture, task in _uses(progress):
        needed.setdefault(weights, {})[architecture, task] = None
    for weights, networks in needed.items():
        tensors = pretrained.stored(progress.store, weights)
        in_store = tensors is not None
        if tensors is None:
            try:
                tensors = pretrained.obtain(weights)
            except (OSError, UserError) as error:
                name = next(iter(networks))[0].name
                raise SpecError(f"guides: {name}: weights: {weights.name}: {error}") from error
        for architecture, task in networks:
            built = tasks.build(task)
            network = architectures.build_on_meta(architecture, built.input, built.output)
            fit(tensors, weights, architecture, task, network)
        if not in_store:
            pretrained.put(progress.store, weights, tensors)


def _uses(progress: Progress) -> Iterator[tuple[Weights, Component, Component]]:
    for replicate in progress.todo:
        condition = replicate.condition
        if condition.weights is not None:
            yield condition.weights, condition.target, condition.task
        for term in condition.terms:
            if term.guide.weights is not None:
                yield term.guide.weights, term.guide.architecture, condition.task
