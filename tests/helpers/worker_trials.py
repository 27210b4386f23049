"""What the processes of `test_worker_packs` do: whole packs, with faults at chosen places."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from tests.helpers.full_disk import full_disk
from tests.helpers.worker_steps import workers_here
from trainers.conditions.condition import Condition
from trainers.conditions.encoding import to_json
from trainers.conditions.ids import replicate_id
from trainers.extensions.code_digest import source_digest
from trainers.guides.frozen import StreamedFeatures
from trainers.parallel import process_group
from trainers.store.lease import Lease, LeasedError
from trainers.store.store import Store
from trainers.training import loop, train
from trainers.trial import ray_worker
from trainers.trial.trial import TrialContext, follow_trial, run_trial

Reports = list[dict[str, Any]]
Fault = tuple[str, int | None]


def train_trial(
    store: str,
    conditions: Sequence[Condition],
    fault: Fault | None = None,
    best_validation: bool = False,
) -> Reports | None:
    """What the leader of this process's group reports; None from the others.

    With `best_validation` the test split is scored at the best validation of each, too. A fault has
    a name of this file and the rank where it happens (None: on all).
    """
    workers = workers_here()
    reports: Reports = []
    here = fault is not None and fault[1] in (None, workers.rank)
    with FAULTS[fault[0]](reports) if fault is not None and here else _nothing(reports):
        if not workers.is_main:
            follow_trial(store, workers)
            return None
        setting = TrialContext(
            store=store, report=reports.append, run="one", workers=workers,
            best_validation={replicate_id(c, 0) for c in conditions if best_validation},
        )  # fmt: skip
        run_trial([(condition, 0) for condition in conditions], setting)
    return reports


def die_in_step(store: str, condition: Condition) -> Reports | None:
    """As `train_trial`, where worker 1 fails alone in its third step, and its process ends."""
    with patch.object(process_group, "FAILED_SECONDS", 1.0):
        try:
            return train_trial(store, [condition], ("step", 1))
        except process_group.BrokenGroupError:
            if workers_here().rank == 1:
                os._exit(1)
            raise


def fail_alone(text: str) -> None:
    """Worker 1 raises an error with this text, and the others do not come to hear of it."""
    workers = workers_here()
    if workers.rank == 1:
        with patch.object(process_group, "FAILED_SECONDS", 1.0), workers.synchronized():
            raise OSError(text)


@contextmanager
def _nothing(_reports: Reports) -> Iterator[None]:
    yield


@contextmanager
def _step(_reports: Reports) -> Iterator[None]:
    """The first replicate's third step raises."""
    step, broken = loop.Run.step, False

    def spy(self: Any, number: int, outputs: Any) -> Any:
        nonlocal broken
        if number == 2 and not broken:
            broken = True
            raise MemoryError("in a step")
        return step(self, number, outputs)

    with patch.object(loop.Run, "step", spy):
        yield


@contextmanager
def _fill(_reports: Reports) -> Iterator[None]:
    """The first replicate's third step raises on all, but the leader has the guide's features."""
    at, broken = StreamedFeatures.at, False

    def spy(self: StreamedFeatures, number: int, forward: Any) -> Any:
        nonlocal broken
        if number != 2 or broken:
            return at(self, number, forward)
        broken = True
        _ = at(self, number, forward) if workers_here().is_main else forward()
        raise MemoryError("with features")

    with patch.object(StreamedFeatures, "at", spy):
        yield


@contextmanager
def _setup(_reports: Reports) -> Iterator[None]:
    """The first replicate's preparation raises."""
    made = train.Run
    broken = False

    def spy(*arguments: Any) -> Any:
        nonlocal broken
        if not broken:
            broken = True
            raise MemoryError("in the beginning")
        return made(*arguments)

    with patch.object(train, "Run", spy):
        yield


@contextmanager
def _report(reports: Reports) -> Iterator[None]:
    """The report of the first replicate's step 4 raises."""
    flush, broken = loop.Log.flush, False

    def spy(self: Any) -> None:
        nonlocal broken
        flush(self)
        if not broken and reports and getattr(reports[-1], "step", None) == 4:
            broken = True
            raise RuntimeError("at step 4")

    with patch.object(loop.Log, "flush", spy):
        yield


@contextmanager
def _lease(_reports: Reports) -> Iterator[None]:
    """The lease is lost at the second checkpoint, and is free again then."""
    check, count = Lease.check, 0

    def spy(self: Lease) -> None:
        nonlocal count
        count += 1
        # The first is that of taking it.
        if count == 3:
            raise LeasedError("taken over")
        check(self)

    with patch.object(Lease, "check", spy):
        yield


@contextmanager
def _disk(_reports: Reports) -> Iterator[None]:
    """The store takes no more than eight files."""
    with full_disk(after=8):
        yield


FAULTS: dict[str, Callable[[Reports], Any]] = {
    "step": _step, "fill": _fill, "setup": _setup, "report": _report, "lease": _lease, "disk": _disk
}  # fmt: skip


def work_for_ray(store: str, conditions: Sequence[Condition], sources: str) -> list[dict[str, Any]]:
    """What this process reports to a Ray Train that waits for all workers in each report."""
    import ray.train

    Store(store).announce("one")
    calls: list[dict[str, Any]] = []
    replicates = [
        {
            "condition": to_json(condition),
            "seed": 0,
            "id": replicate_id(condition, 0),
            "comparisons": (),
            "best_validation": False,
        }
        for condition in conditions
    ]
    digest = source_digest() if sources == "same" or workers_here().rank else "another"
    config = {
        "replicates": replicates, "store": store, "run": "one", "provenance": {},
        "sources": digest, "imports": [], "loaders": 0, "checkpoint_every": {}, "traced": None,
    }  # fmt: skip
    with (
        patch.object(ray.train, "report", calls.append),
        patch.object(ray_worker, "REPORT_SECONDS", 0.0),
        patch.object(process_group, "connected", lambda _loaders: workers_here()),
    ):
        ray_worker.train_replicates(config)
    return calls
