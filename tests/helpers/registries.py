"""Entries that tests add, and take away again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from trainers.extensions.registries import REGISTRIES


@contextmanager
def restored() -> Iterator[None]:
    """Afterwards all registries are what they were, and nothing made of other entries is kept."""
    with ExitStack() as stack:
        for each in REGISTRIES.values():
            stack.enter_context(each.restored())
        yield
