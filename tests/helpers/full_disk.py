"""A disk of a store that is full."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from unittest.mock import patch

from trainers.data import atomic


@contextmanager
def full_disk(after: int) -> Iterator[None]:
    """Inside, the stores of this process take so many files more, and no other."""
    replaced, count = atomic.replaced, 0

    def spy(path: Path, *, durable: bool = False) -> AbstractContextManager[Path]:
        nonlocal count
        # Those of the machine's cache need not last.
        count += durable
        if durable and count > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replaced(path, durable=durable)

    with patch.object(atomic, "replaced", spy):
        yield
