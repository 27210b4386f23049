"""Interface of rivals."""

from __future__ import annotations

from abc import ABC, abstractmethod

from trainers.architectures import Network
from trainers.conditions.registries import RIVALS
from trainers.registry import Component

register = RIVALS.register


class Rival(ABC):
    """A treatment of the target that competes with guidance."""

    @abstractmethod
    def initialise(self, network: Network) -> None:
        """Change the weights of a freshly built network in place.

        Draws from PyTorch's global generator, which goes on from the network's own initialisation.
        Raises UserError for a network that it cannot treat.
        """


def build(component: Component) -> Rival:
    """The rival of a name and options; raises UserError if there is none."""
    built: Rival = RIVALS.make(component)
    return built
