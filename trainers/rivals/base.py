"""Interface of rivals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from trainers.architectures import Network
from trainers.conditions.condition import Condition
from trainers.conditions.condition import Rival as Treatment
from trainers.conditions.registries import RIVALS
from trainers.conditions.schedule import AlignFirst
from trainers.errors import UserError
from trainers.registry import Component
from trainers.tasks import Task

register = RIVALS.register


class Constraint(ABC):
    """Weights of a network that follow from learned ones during training.

    Its state is a function of the progress of training alone, so a checkpoint holds none of it. The
    learned weights are parameters of the network under names of their own.
    """

    @abstractmethod
    def at(self, done: float) -> None:
        """Set the state for the fraction `done` of the training, from 0 to 1."""

    @abstractmethod
    def release(self) -> None:
        """Leave the network with its present weights as parameters of their own names."""


class Rival:
    """A treatment of the target that competes with guidance; subclasses override its phases.

    In the order in which they come:

    - `initialise`: the network's weights before the first step. A rival that `takes_weights` starts
      from weights that the condition names, which are loaded after it.
    - `align_first`: steps in which guides align the target, without task loss. They are taken out
      of the steps of the training, so that the total is that of every other condition.
    - `constrain`: weights that follow from learned ones in every step, until the last one is done.
    - `loss`: the loss of a training step, in place of the task's.

    All draw from PyTorch's global generator, which goes on from the network's own initialisation.
    """

    #: Names of controls, which take the place of the rival's prior.
    controls: ClassVar[tuple[str, ...]] = ()
    #: Whether the condition names weights that it starts from.
    takes_weights: ClassVar[bool] = False

    @property
    def align_first(self) -> AlignFirst | None:
        """The alignment with guides before training; None if it has none."""
        return None

    def check(self, network: Network, task: Task) -> None:
        """Raise UserError if it cannot treat a network, which may have no values, on a task."""

    def initialise(self, network: Network, task: Task) -> None:
        """Change the weights of a freshly built network in place.

        Raises UserError for a network that it cannot treat.
        """

    def constrain(
        self, network: Network, task: Task, control: str  # noqa: ARG002
    ) -> Constraint | None:  # fmt: skip
        """Constrain the weights of an initialised network; None if it leaves them free.

        `control`, one of `controls`, takes the place of the prior unless it is `none`.
        """
        return None

    def loss(self, task: Task, answers: Tensor, labels: Tensor) -> Tensor:
        """The loss of a training step from answers (..., num_outputs) and labels."""
        return task.loss(answers, labels)

    @property
    def changes_loss(self) -> bool:
        """Whether `loss` is another than the task's."""
        return type(self).loss is not Rival.loss


def build(component: Component) -> Rival:
    """The rival of a name and options; raises UserError if there is none."""
    built: Rival = RIVALS.make(component)
    return built


def of(condition: Condition) -> Rival | None:
    """The rival that treats a condition's target; None if none does. Raises UserError."""
    return None if condition.rival is None else fitting(condition.rival)


def fitting(treatment: Treatment) -> Rival:
    """The rival of a treatment; raises UserError if what it is given is not what it needs."""
    rival, name = build(treatment.method), treatment.method.name
    if treatment.control not in ("none", *rival.controls):
        allowed = ", ".join(("none", *rival.controls))
        raise UserError(f"rival {name}: control {treatment.control!r}; allowed: {allowed}")
    for what, given, needed in (
        ("weights", treatment.weights, rival.takes_weights),
        ("guidance", treatment.guidance, rival.align_first is not None),
    ):
        if (given is not None) != needed:
            raise UserError(f"rival {name} {'needs' if needed else 'takes no'} {what}")
    return rival


def check(treatment: Treatment, network: Network, task: Task) -> None:
    """Raise UserError if a rival cannot treat a network, which may have no values, on a task."""
    rival = fitting(treatment)
    with torch.device("meta"):
        # Matrices of large layers are only shapes here.
        rival.check(network, task)
