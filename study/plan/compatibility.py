"""Checks that a condition's parts fit each other, with networks built on the meta device."""

from __future__ import annotations

from functools import cache

from study.errors import PartError, SpecError
from study.plan import weights
from study.plan.sizes import bounded
from trainers import architectures, controls, distances, rivals, tasks
from trainers.architectures import ARCHITECTURES, Network
from trainers.architectures.forward_pass import forward_pass
from trainers.architectures.taps import to_rows
from trainers.conditions.condition import Condition, Rival
from trainers.conditions.guidance import NO_CONTROL, Term
from trainers.conditions.registries import CONTROLS
from trainers.conditions.training import TrainSettings
from trainers.distances import DISTANCES, Distance, check_same_rows
from trainers.errors import UserError
from trainers.mappings import Pair
from trainers.registry import Component
from trainers.tasks import Task


class Compatibility:
    """Checks of conditions for trials of `workers`; each pair of network and task is built once."""

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers
        self._network = cache(_network)
        #: Conditions that differ in the schedule alone have the same pairs.
        self._num_pairs = cache(self._num_pairs_of)

    def check(self, condition: Condition) -> None:
        """Raise SpecError where network, task, length of training, batch and workers do not fit.

        A condition that only evaluates weights is checked for weights that fit the network.
        """
        network = self._network(condition.target, condition.task)
        try:
            tasks.build(condition.task, condition.data_seed(0))
        except UserError as error:
            raise PartError(["task"], condition.task, str(error)) from error
        if condition.weights is not None:
            use = weights.Use(condition.target, condition.task)
            weights.check(condition.weights, use, network)
            return
        if condition.rival is not None:
            self._check_rival(condition, condition.rival, network)
        num_train = tasks.build(condition.task).num_train
        try:
            condition.train_steps(num_train)
        except UserError as error:
            where = "" if condition.rival is None else "rivals: "
            raise SpecError(f"{where}task {condition.task.name!r}: {error}") from error
        smallest = _smallest_batch(condition.train, num_train)
        if smallest < self._workers:
            raise SpecError(
                f"train.batch_size: {condition.train.batch_size} gives batches of {smallest} "
                f"examples, too few for resources.workers: {self._workers}, of which each needs one"
            )

    @staticmethod
    def _check_rival(condition: Condition, rival: Rival, network: Network) -> None:
        """Raise SpecError where a rival, or the weights it starts from, do not fit a network."""
        try:
            rivals.check(rival, network, tasks.build(condition.task))
        except UserError as error:
            label = ARCHITECTURES.label(condition.target)
            raise SpecError(
                f"rivals: {error} (target {label} on task {condition.task.name!r})"
            ) from error
        if rival.weights is not None:
            use = weights.Use(condition.target, condition.task, start=True)
            weights.check(rival.weights, use, network)

    def num_pairs(self, condition: Condition) -> int:
        """Number of mapped pairs of a guided condition, over all its terms.

        Raises SpecError where the networks, the mapping, the rows or the batch do not fit.
        """
        guidance, task = condition.guidance, tasks.build(condition.task)
        assert guidance is not None
        if guidance.guide_inputs != "same" and not task.augmented:
            raise SpecError(
                f"guide_inputs: {guidance.guide_inputs} needs a task that augments its inputs, and "
                f"{condition.task.name!r} does not; use same, or an option of the task"
            )
        first = guidance.schedule.align_first
        if first is not None and first.inputs == "redrawn":
            try:
                tasks.redrawn(condition.task, 0)
            except UserError as error:
                raise SpecError(f"align_first: {error}") from error
        plain = Condition(task=condition.task, target=condition.target, train=condition.train)
        return sum(self._num_pairs(plain, term) for term in guidance.terms)

    def _num_pairs_of(self, condition: Condition, term: Term) -> int:
        """Number of pairs of a term in a condition, whose task, target and training count alone."""
        task, distance = tasks.build(condition.task), distances.build(term.distance)
        if distance.needs_classes and task.output.num_classes is None:
            raise SpecError(
                f"distances: {DISTANCES.label(term.distance)} needs a task of classes, and the "
                f"answers of task {condition.task.name!r} are values"
            )
        batch_size = _smallest_batch(condition.train, task.num_train)
        if term.rows != "tokens" and batch_size < distance.guiding_rows:
            raise SpecError(
                f"train.batch_size: {condition.train.batch_size} gives batches of {batch_size} "
                f"rows, too few for distance {DISTANCES.label(term.distance)!r}, which needs "
                f"{distance.guiding_rows} or more"
            )
        pairs = self._pairs(condition, term)
        if _depends_on_shapes(distance, term, task):
            self._check_shapes(condition, term, distance, pairs, batch_size)
        return len(pairs)

    def _pairs(self, condition: Condition, term: Term) -> list[Pair]:
        target = self._network(condition.target, condition.task).taps
        guide = self._network(term.guide.architecture, condition.task).taps
        try:
            return controls.pairs_of(term, target, guide)
        except UserError as error:
            if term.control != NO_CONTROL:
                raise SpecError(f"control {CONTROLS.label(term.control)}: {error}") from error
            on = f"(on task {condition.task.name!r})"
            raise PartError(["mapping"], term.mapping, f"{error} {on}") from error

    def _check_shapes(
        self,
        condition: Condition,
        term: Term,
        distance: Distance,
        pairs: list[Pair],
        batch_size: int,
    ) -> None:
        """Raise SpecError where paired taps have different rows, or too few for their widths."""
        task = tasks.build(condition.task)
        target, guide = (
            forward_pass(each, task.input, task.output).of_batch(batch_size).outputs
            for each in (condition.target, term.guide.architecture)
        )
        try:
            guide = controls.of(term).shown(task, term.rows, guide)
        except UserError as error:
            raise SpecError(
                f"control {CONTROLS.label(term.control)}: rows: {term.rows} on task "
                f"{condition.task.name!r}: {error}"
            ) from error
        for pair in pairs:
            target_shape = to_rows(target[pair.target], term.rows, task.input.kind).shape
            guide_shape = to_rows(guide[pair.guide], term.rows, task.input.kind).shape
            try:
                check_same_rows(target_shape, guide_shape)
                distance.check_shapes(target_shape[-2], target_shape[-1], guide_shape[-1])
            except ValueError as error:
                differ = target_shape[:-1] != guide_shape[:-1]
                hint = "; use rows: examples or pooled" if differ else ""
                shown = "" if term.control == NO_CONTROL else f" ({CONTROLS.label(term.control)})"
                raise SpecError(
                    f"distances: {DISTANCES.label(term.distance)} with rows: {term.rows} "
                    f"on task {condition.task.name!r}, target tap {pair.target!r} and guide tap "
                    f"{pair.guide!r}{shown}: {error}{hint}"
                ) from error


def _network(architecture: Component, task: Component) -> Network:
    try:
        built = tasks.build(task)
    except UserError as error:
        raise PartError(["task"], task, str(error)) from error
    try:
        with bounded(architecture):
            return architectures.build_on_meta(architecture, built.input, built.output)
    except UserError as error:
        message = f"{error} (on task {task.name!r})"
        raise PartError(["targets", "guides"], architecture, message) from error


def _depends_on_shapes(distance: Distance, term: Term, task: Task) -> bool:
    """Whether the shapes of paired taps decide if they can be compared.

    False where the pairs are not known before training (`nearest`).
    """
    if term.mapping.name == "nearest":
        return False
    by_position = term.rows in ("positions", "tokens") and task.input.kind != "tokens"
    return by_position or type(distance).check_shapes is not Distance.check_shapes


def _smallest_batch(train: TrainSettings, num_train: int | None) -> int:
    return train.batch_size if num_train is None else num_train // train.epoch_steps(num_train)
