"""The setup of a replicate's run: its task, random streams, batches and network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import nn

from trainers import architectures, rivals, tasks
from trainers.architectures import Network
from trainers.conditions.condition import Condition
from trainers.conditions.training import TrainSettings
from trainers.parallel.workers import ALONE, Workers
from trainers.rivals import Constraint
from trainers.runtime.streams import Streams
from trainers.tasks import Task
from trainers.tasks.batches import Batches
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


def running(network: Network, settings: TrainSettings) -> nn.Module:
    """The network as it runs in training: compiled, where its settings say so.

    Parameters and hooks are those of `network`.
    """
    if not settings.compile:
        return network
    # Compiled code does not check for changed hooks, and its shapes depend on the first inputs: it
    # must not be reused from another run of this process.
    torch.compiler.reset()
    return cast(nn.Module, torch.compile(network, dynamic=False))


def batches(setup: RunSetup, device: torch.device, stream: str) -> Batches:
    """Batches of a replicate's training examples, in the order of a random stream, on `device`."""
    guidance = setup.condition.guidance
    return Batches(
        setup.task, setup.condition.train, setup.streams, device, stream,
        augment_guide_separately=(
            guidance is not None and guidance.guide_inputs == "other_augmentation"
        ),
        loaders=setup.workers.loaders,
    )  # fmt: skip


def align_batches(setup: RunSetup, device: torch.device) -> Batches:
    """Batches of a replicate's alignment before training: of its task's data, or another draw."""
    guidance = setup.condition.guidance
    first = None if guidance is None else guidance.schedule.align_first
    if first is not None and first.inputs == "redrawn":
        setup = replace(setup, task=tasks.redrawn(setup.condition.task, setup.seed))
    return batches(setup, device, "align")
