"""A study of the fault campaign while it is disturbed: how far it is, and what it must not lose."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

from study import Study
from tests.faults.grounds import SPEC, Ground
from tests.helpers.driver import Driver
from trainers.store import pointer
from trainers.store.folder import digest
from trainers.store.store import CorruptError, Replicate, Store
from trainers.store.tables import Point

T = TypeVar("T")

#: Longest wait for a run, which Ray and other work on the machine make long.
_SECONDS = 900.0
#: Most runs that may be needed after the last fault.
_MOST_RUNS = 6


class TooLateError(Exception):
    """The study was done before the fault could come."""


class Seen(NamedTuple):
    """What the store held at a moment.

    `finished` gives a result's digest and when it was written, `points` a half-trained
    replicate's history, by id.
    """

    finished: dict[str, tuple[str, float | None]]
    points: dict[str, list[Point]]


class StudyInHand:
    """The study on its ground, run by `driver`.

    `excused` are replicates that may be trained anew, because a file of theirs was damaged or they
    failed; `num_runs` counts how often it was started.
    """

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.excused: set[str] = set()
        #: Whether replicates may be found failed.
        self.may_fail = False
        self.num_runs = 0
        plan = Study(**SPEC).plan()
        self._steps = {r.id: r.condition.train_steps(None) for r in plan.replicates}
        self.driver: Driver = self.start()

    def start(self) -> Driver:
        """Start its command; where replicates have failed, that which tries again."""
        self.num_runs += 1
        failed = {r.id: failure.error for r in self.replicates() if (failure := _of(r.failure))}
        if failed:
            causes = list(failed.values())
            assert self.may_fail, causes
            assert all("memory" in cause.lower() for cause in causes), causes
            self.excused |= failed.keys()
        self.driver = self.ground.start("retry" if failed else "run")
        return self.driver

    def replicates(self) -> list[Replicate]:
        """Those of the plan."""
        store = Store(self.ground.store)
        return [store.replicate(identifier) for identifier in self._steps]

    def progress(self) -> float:
        """The part of all steps that the store holds, by results and checkpoints."""
        done = 0.0
        for replicate in self.replicates():
            steps = self._steps[replicate.id]
            if _of(replicate.result) is not None:
                done += steps
            else:
                done += _of(partial(pointer.saved_step, replicate)) or 0
        return done / sum(self._steps.values())

    def wait_until(self, moment: float) -> None:
        """Wait until a part of its steps is done, with its command running."""
        if self.driver.process.poll() is not None:
            self.start()
        deadline = time.monotonic() + _SECONDS
        while self.progress() < moment:
            if self.driver.process.poll() is not None:
                if self.progress() < 1:
                    # Its end is due to an earlier fault.
                    self.start()
                else:
                    raise TooLateError
            assert time.monotonic() < deadline, f"no progress\n{self.ground.said()}"
            self.driver.below()
            time.sleep(self.ground.look_seconds)

    def seen(self) -> Seen:
        """What the store holds now."""
        finished, points = {}, {}
        for replicate in self.replicates():
            if _of(replicate.result) is not None:
                written = replicate.folder.modified("result.json")
                finished[replicate.id] = digest(replicate.folder.read("result.json")), written
            elif (history := _of(replicate.history)) is not None:
                points[replicate.id] = history.points
        return Seen(finished, points)

    def complete(self) -> None:
        """Let it run, and run it again, until it is done."""
        for _ in range(_MOST_RUNS):
            if self.driver.wait(_SECONDS) == 0:
                return
            self.start()
        raise AssertionError(f"not done after {_MOST_RUNS} more runs\n{self.ground.said()}")

    def lost(self, before: Seen) -> set[str]:
        """Replicates that were finished and are not."""
        return before.finished.keys() - self.seen().finished.keys() - self.excused

    def trained_twice(self, before: Seen) -> set[str]:
        """Replicates whose result was written again, or whose first points came again."""
        now = self.seen()
        again = {
            identifier
            for identifier, result in before.finished.items()
            if identifier in now.finished and now.finished[identifier] != result
        }
        stored = {r.id: r for r in self.replicates()}
        for identifier, points in before.points.items():
            history = _of(stored[identifier].history)
            if history is None or history.points[: len(points)] != points:
                again.add(identifier)
        return again - self.excused


def _of(read: Callable[[], T]) -> T | None:
    """What a file holds; None where it is damaged, which the next run is to notice."""
    try:
        return read()
    except CorruptError:
        return None
