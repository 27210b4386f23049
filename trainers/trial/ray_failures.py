"""Failures that Ray knows of, and the store must: workers out of memory, workers never set up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.train import UserCallback

from trainers.messages import Ended
from trainers.store.lease import Lease, LeasedError
from trainers.store.store import CorruptError, Store

if TYPE_CHECKING:
    from ray.train import ControllerError


class StartError(RuntimeError):
    """The workers of a trial could not be set up."""


class CountFaults(UserCallback):  # type: ignore[misc]
    """Counts the deaths of a trial's workers that were their own fault, as far as Ray can tell.

    A worker that was killed for its memory is. Of all others Ray only knows that they are gone, or
    that their node is.
    """

    def __init__(self, store: str, run: str, ids: Sequence[str]) -> None:
        self._store, self._run, self._ids = store, run, ids

    def after_exception(
        self,
        run_context: Any,  # noqa: ARG002
        worker_exceptions: Mapping[int, Exception],
    ) -> None:
        """Note in the store what was being trained when a worker ran out of memory."""
        # Train wraps what ended a worker that it has lost.
        causes = [getattr(e, "health_check_failure", e) for e in worker_exceptions.values()]
        deaths = [cause for cause in causes if isinstance(cause, OutOfMemoryError)]
        if not deaths:
            return
        cause = f"out of memory: {(str(deaths[0]).splitlines() or [''])[0]}"
        for identifier in self._ids:
            with suppress(CorruptError, OSError):
                Store(self._store).replicate(identifier).count_fault(self._run, cause)


def note_crashes(store: str, run: str, ids: Iterable[str]) -> None:
    """Count what this machine has recorded of crashes of a trial's workers in a driver's `run`."""
    for identifier in ids:
        with suppress(CorruptError, OSError):
            Store(store).replicate(identifier).note_crash(run)


def is_of_the_machine(error: ControllerError) -> bool:
    """Whether workers died while they were set up: nodes go, and no replicate is at fault."""
    cause: BaseException | None = error.controller_failure
    while cause is not None and not isinstance(cause, RayActorError):
        cause = cause.__cause__
    return cause is not None


def begun(store: str, run: str, ids: Sequence[str]) -> bool:
    """Whether a driver's run has begun to train any of the replicates `ids`."""
    with suppress(CorruptError):
        return any(Store(store).replicate(identifier).is_begun(run) for identifier in ids)
    return True


def failed_to_start(store: str, ids: Sequence[str], error: ControllerError) -> list[Ended]:
    """Record that no worker could be set up for the replicates `ids`; returns their ends.

    Those that another process is training are left out.
    """
    cause = error.controller_failure
    # What a worker raised comes with its whole traceback as its message.
    cause = cause.cause if isinstance(cause, RayTaskError) else cause
    text = f"its worker could not be set up: {type(cause).__name__}: {cause}"
    failure = StartError(text).with_traceback(error.__traceback__)
    return list(_failed(Store(store), ids, failure))


def _failed(store: Store, ids: Sequence[str], error: StartError) -> Iterator[Ended]:
    for identifier in ids:
        replicate = store.replicate(identifier)
        with suppress(LeasedError), Lease(replicate.folder):
            replicate.fail(error)
            text = f"{type(error).__name__}: {error}"
            yield Ended(replicate_id=identifier, status="failed", error=text)
