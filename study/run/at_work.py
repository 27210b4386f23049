"""One driver a study: its lease."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from study.errors import SpecError
from trainers.store.folder import Folder
from trainers.store.lease import Lease, LeasedError, outlive


@contextmanager
def at_work(folder: Folder, study: str) -> Iterator[None]:
    """Hold the study's lease, since two drivers would each log every replicate.

    Waits while a process of another machine holds it without renewing it: it may have been killed.
    Raises SpecError where another process is at work.
    """
    with ExitStack() as stack:
        try:
            outlive(folder, lambda line: print(f"study {study!r}: {line}", file=sys.stderr))
            stack.enter_context(Lease(folder))
        except LeasedError as error:
            raise SpecError(f"study {study!r} is being run already: {error}") from error
        yield
