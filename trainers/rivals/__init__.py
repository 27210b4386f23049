"""Rivals of guidance: initialisations and constraints of the target, without a guide.

One rival is one file of this package; `base` defines the interface.
"""

from trainers.conditions.registries import RIVALS
from trainers.rivals.base import Rival, build, register

__all__ = ["RIVALS", "Rival", "build", "register"]
