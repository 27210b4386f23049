"""Registries of what may stand in a condition's treatment; the entries are in rooms above."""

from __future__ import annotations

from typing import Any

from trainers.registry import Registry

#: The registered controls.
CONTROLS: Registry[type[Any]] = Registry("control", "trainers.controls")
#: The registered rivals.
RIVALS: Registry[type[Any]] = Registry("rival", "trainers.rivals")
