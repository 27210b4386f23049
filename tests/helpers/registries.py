"""Entries that tests add, and take away again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from trainers.architectures import ARCHITECTURES
from trainers.conditions.registries import CONTROLS
from trainers.distances import DISTANCES
from trainers.mappings import MAPPINGS
from trainers.measures import MEASURES
from trainers.registry import Registry
from trainers.tasks import TASKS

REGISTRIES: tuple[Registry[Any], ...] = (
    ARCHITECTURES,
    CONTROLS,
    DISTANCES,
    MAPPINGS,
    MEASURES,
    TASKS,
)


@contextmanager
def restored() -> Iterator[None]:
    """Afterwards all registries are what they were, and nothing made of other entries is kept."""
    with ExitStack() as stack:
        for each in REGISTRIES:
            stack.enter_context(each.restored())
        yield
