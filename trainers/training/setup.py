"""The setup of a replicate's run: its task, random streams and initial network."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trainers import architectures, rivals, tasks
from trainers.architectures import Network
from trainers.conditions.condition import Condition
from trainers.parallel.workers import ALONE, Workers
from trainers.rivals import Constraint
from trainers.runtime.streams import Streams
from trainers.tasks import Task
from trainers.training.trace import Tracing, untraced


@dataclass(frozen=True, kw_only=True, eq=False)
class RunSetup:
    """A condition with its seed, its task, its random streams, and the workers that train it.

    With `best_validation` the test split is also scored at each report that has the best validation
    value so far; `tracing` is the context of its training steps. Neither changes a result or an id.
    """

    condition: Condition
    seed: int
    task: Task
    streams: Streams
    workers: Workers = ALONE
    best_validation: bool = False
    tracing: Tracing = untraced

    @classmethod
    def of(
        cls,
        condition: Condition,
        seed: int,
        workers: Workers = ALONE,
        *,
        best_validation: bool = False,
        tracing: Tracing = untraced,
    ) -> RunSetup:
        """The setup of a replicate."""
        role = "guide" if condition.is_guide else "target"
        return cls(
            condition=condition,
            seed=seed,
            task=tasks.build(condition.task, condition.data_seed(seed)),
            streams=Streams(role, condition.task, condition.target, seed),
            workers=workers,
            best_validation=best_validation,
            tracing=tracing,
        )


def initial(setup: RunSetup) -> Network:
    """The network of a replicate before its first step.

    Seeds and draws from PyTorch's global generator: call it inside `isolated`.
    """
    torch.manual_seed(setup.streams.seed("init"))
    network = architectures.build(setup.condition.target, setup.task.input, setup.task.output)
    rival = rivals.of(setup.condition)
    if rival is not None:
        rival.initialise(network, setup.task)
    return network


def constrained(network: Network, setup: RunSetup) -> Constraint | None:
    """Constrain a replicate's `initial` network as its rival does; None if it is free.

    Draws from PyTorch's global generator: call it next after `initial`.
    """
    treatment, rival = setup.condition.rival, rivals.of(setup.condition)
    if treatment is None or rival is None:
        return None
    return rival.constrain(network, setup.task, treatment.control)
