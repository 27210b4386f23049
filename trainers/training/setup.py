"""The setup of a replicate's run: its task and random streams, built from its condition."""

from __future__ import annotations

from dataclasses import dataclass

from trainers import tasks
from trainers.conditions.condition import Condition
from trainers.parallel.workers import ALONE, Workers
from trainers.runtime.streams import Streams
from trainers.tasks import Task


@dataclass(frozen=True, kw_only=True, eq=False)
class RunSetup:
    """A condition with its seed, its task, its random streams, and the workers that train it."""

    condition: Condition
    seed: int
    task: Task
    streams: Streams
    workers: Workers = ALONE

    @classmethod
    def of(cls, condition: Condition, seed: int, workers: Workers = ALONE) -> RunSetup:
        """The setup of a replicate."""
        role = "guide" if condition.role == "guide" else "target"
        return cls(
            condition=condition,
            seed=seed,
            task=tasks.build(condition.task),
            streams=Streams(role, condition.task, condition.target, seed),
            workers=workers,
        )
