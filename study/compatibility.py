"""Do a condition's parts fit each other? Networks are built without values to find out."""

from __future__ import annotations

from study.mistakes import SpecError
from trainers import architectures, distances, mapping, tasks
from trainers.condition import Condition, TrainSettings
from trainers.distances import DISTANCES
from trainers.registry import Component
from trainers.tasks import Task


class Compatibility:
    """Checks conditions, each pair of network and task once, for trials of so many workers."""

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers
        self._networks: dict[tuple[Component, Component], tuple[str, ...]] = {}

    def check(self, condition: Condition) -> None:
        """Raise SpecError where network, length of training, batch, workers and task do not fit."""
        self._taps(condition.target, condition.task)
        num_train = tasks.build(condition.task).num_train
        try:
            condition.train.num_steps(num_train)
        except ValueError as error:
            raise SpecError(f"task {condition.task.name!r}: {error}") from error
        smallest = _smallest_batch(condition.train, num_train)
        if smallest < self._workers:
            raise SpecError(
                f"train.batch_size: {condition.train.batch_size} gives batches of {smallest} "
                f"examples, too few for resources.workers: {self._workers}, of which each needs one"
            )

    def num_pairs(self, condition: Condition) -> int:
        """Mapped pairs of a guided condition.

        Raises SpecError where the networks, the mapping, the rows or the batch do not fit.
        """
        guidance = condition.guidance
        assert guidance is not None
        task = tasks.build(condition.task)
        target = self._taps(condition.target, condition.task)
        guide = self._taps(guidance.guide.architecture, condition.task)
        distance = distances.build(guidance.distance)
        self._check_rows(condition, task, distance.min_rows)
        if distance.of_logits:
            return 1
        try:
            return mapping.num_pairs(guidance.mapping, target, guide)
        except ValueError as error:
            control = "" if guidance.control == "none" else f"control {guidance.control}: "
            raise SpecError(f"{control}{error}") from error

    @staticmethod
    def _check_rows(condition: Condition, task: Task, fewest: int) -> None:
        guidance = condition.guidance
        assert guidance is not None
        if guidance.rows not in ("examples", "pooled") and task.input.kind != "tokens":
            raise SpecError(
                f"distances: rows: {guidance.rows} needs sequences, and the inputs of task "
                f"{condition.task.name!r} are of kind {task.input.kind!r}; use rows: examples or "
                "pooled"
            )
        smallest = _smallest_batch(condition.train, task.num_train)
        if guidance.rows != "tokens" and smallest < fewest:
            raise SpecError(
                f"train.batch_size: {condition.train.batch_size} gives batches of {smallest} rows, "
                f"too few for distance {DISTANCES.label(guidance.distance)!r}, which needs "
                f"{fewest} or more"
            )

    def _taps(self, architecture: Component, task: Component) -> tuple[str, ...]:
        key = (architecture, task)
        if key not in self._networks:
            try:
                built = tasks.build(task)
                network = architectures.blueprint(architecture, built.input, built.output)
            except ValueError as error:
                raise SpecError(f"task {task.name!r}: {error}") from error
            self._networks[key] = network.taps
        return self._networks[key]


def _smallest_batch(train: TrainSettings, num_train: int | None) -> int:
    return train.batch_size if num_train is None else num_train // train.epoch_steps(num_train)
