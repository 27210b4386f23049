"""The registries of all entries that a spec may name; imports PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from trainers.architectures import ARCHITECTURES
from trainers.conditions.registries import CONTROLS, RIVALS
from trainers.distances import DISTANCES
from trainers.mappings import MAPPINGS
from trainers.measures import MEASURES
from trainers.registry import Registry
from trainers.tasks import TASKS

#: By the plural of their kind.
REGISTRIES: Mapping[str, Registry[Any]] = MappingProxyType({
    "architectures": ARCHITECTURES, "tasks": TASKS, "distances": DISTANCES,
    "controls": CONTROLS, "rivals": RIVALS, "mappings": MAPPINGS, "measures": MEASURES,
})  # fmt: skip
