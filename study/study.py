"""The Python API of a study: load, plan, run, analyse."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import yaml

from study import cost, packing
from study.console import Monitor
from study.cost import Estimate
from study.plan import Plan
from study.progress import Progress
from study.provenance import provenance
from study.spec import Spec, SpecError, load, read
from trainers.pack import run_pack
from trainers.store import Store

if TYPE_CHECKING:
    from study.tracking import Tracker

DEFAULT_STORE = "archprior-store"


@dataclass(frozen=True)
class Outcome:
    """How a run of a study ended: states of its replicates, predicted cost, and its tables."""

    progress: Progress
    estimate: Estimate
    tables: Mapping[str, Any]

    @property
    def complete(self) -> bool:
        """Whether every replicate of the study is finished."""
        return self.progress.counts()["finished"] == len(self.progress.plan)


class Study:
    """A study: `Study(name=..., task=...)` with the keys of a spec, or `Study.load`."""

    def __init__(self, **spec: Any) -> None:
        self._raw: Mapping[str, Any] = spec
        self.spec: Spec = read(spec)

    @classmethod
    def load(cls, source: str | Path) -> Study:
        """The study of a preset's name or a YAML file; raises SpecError."""
        study = cls.__new__(cls)
        study._raw, study.spec = load(source)
        return study

    @property
    def name(self) -> str:
        """The study's name."""
        return self.spec.name

    def plan(self, *, debug: bool = False) -> Plan:
        """All replicates with their content ids; starts nothing. Raises SpecError.

        With `debug` every condition is cut to one seed and two steps.
        """
        return Plan(self.spec, debug=debug)

    def run(
        self,
        *,
        store: str | os.PathLike[str] = DEFAULT_STORE,
        tracking_uri: str | None = None,
        address: str | None = None,
        local: bool = False,
        debug: bool = False,
    ) -> Outcome:
        """Train what the store lacks, project it into MLflow, and write the tables.

        `local` trains in this process without Ray, with the same numbers. Raises SpecError before
        anything starts when the study, the store or the tracking URI cannot be used.
        """
        import analysis

        place = open_store(store)
        uri = tracking_uri or default_tracking_uri(place)
        progress = Progress(self.plan(debug=debug), place)
        spec_text = yaml.safe_dump(dict(self._raw), sort_keys=False)
        (place.root / "studies" / self.name).write("spec.yaml", spec_text.encode())
        monitor = Monitor(progress)
        monitor.start()
        try:
            with ThreadPoolExecutor(2) as executor:
                # MLflow's new data base, the timing of a few steps and the start of Ray take
                # seconds each.
                tracker = executor.submit(_tracker, progress, uri, self._raw)
                estimate = executor.submit(cost.estimate, progress, on_measure=monitor.say)
                if progress.todo and local:
                    self._train_here(progress, monitor, tracker.result, estimate.result)
                elif progress.todo:
                    with _ray(address) as scheduler:
                        self._train(progress, monitor, tracker.result, estimate.result, scheduler)
            tracker.result().close()
        finally:
            monitor.stop()
        tables = analysis.analyze(self.name, store=place.uri, tracking_uri=uri)
        return Outcome(progress, estimate.result(), tables)

    def _train_here(
        self,
        progress: Progress,
        monitor: Monitor,
        tracker: Callable[[], Tracker],
        estimate: Callable[[], Estimate],
    ) -> None:
        todo = progress.todo
        monitor.begin(estimate(), 1)
        report = _reporter(progress, monitor, tracker())
        run_pack([(r.condition, r.seed) for r in todo], progress.store.uri, report)

    def _train(
        self,
        progress: Progress,
        monitor: Monitor,
        tracker: Callable[[], Tracker],
        estimate: Callable[[], Estimate],
        scheduler: ModuleType,
    ) -> None:
        resources, todo = self.spec.resources, progress.todo
        trials = packing.pack(
            todo,
            estimate().seconds,
            slots=scheduler.slots(resources),
            per_trial=resources.replicates_per_trial,
        )
        monitor.begin(estimate(), len(trials))
        errors = scheduler.run(
            trials,
            resources,
            store=progress.store.uri,
            ray_storage=(progress.store.root / "ray").uri,
            report=_reporter(progress, monitor, tracker()),
        )
        for replicate in todo:
            progress.refresh(replicate.id)
        for error in errors:
            monitor.say(f"a trial ended with an error: {error}")


def _reporter(
    progress: Progress, monitor: Monitor, tracker: Tracker
) -> Callable[[dict[str, Any]], None]:
    """Hands what trials report to MLflow and to the person who looks on."""

    def report(payload: dict[str, Any]) -> None:
        if "metrics" in payload:
            tracker.log(payload)
        elif "status" in payload:
            progress.refresh(payload["replicate_id"])
            tracker.ended(payload["replicate_id"])
        monitor.report(payload)

    return report


def default_tracking_uri(store: Store) -> str:
    """`sqlite:///<store>/mlflow.db`; raises SpecError where the store is a bucket."""
    if not store.root.is_local:
        raise SpecError(
            f"--tracking-uri: the store {store.uri} is not a local folder, so it cannot hold "
            "MLflow's sqlite data base; name an MLflow server (http://...)"
        )
    return f"sqlite:///{store.uri}/mlflow.db"


def open_store(uri: str | os.PathLike[str]) -> Store:
    """The store, checked to be writable; raises SpecError."""
    store = Store(uri)
    try:
        store.root.write(".writable", b"")
        store.root.remove(".writable")
    except OSError as error:
        raise SpecError(f"--store: {store.uri} is not writable: {error}") from error
    return store


def _tracker(progress: Progress, uri: str, raw: Mapping[str, Any]) -> Tracker:
    from study.tracking import Tracker

    tracker = Tracker(progress, uri, provenance())
    tracker.start(raw)
    return tracker


@contextmanager
def _ray(address: str | None) -> Iterator[ModuleType]:
    from study import scheduler

    scheduler.connect(address)
    try:
        yield scheduler
    finally:
        scheduler.disconnect()
