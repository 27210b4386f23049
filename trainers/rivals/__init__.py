"""Rivals of guidance: starts, constraints and losses of the target.

One rival is one file of this package; `base` defines the interface. A file `_x.py` holds what
several share.
"""

from trainers.conditions.registries import RIVALS
from trainers.rivals.base import Constraint, Rival, build, check, of, register

__all__ = ["RIVALS", "Constraint", "Rival", "build", "check", "of", "register"]
