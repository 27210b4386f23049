"""One run of a study: what is missing is trained, compared, reported and tabled."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from study import alignments as alignment_stage
from study import cost, packing
from study.brake import Brake, StoppedError
from study.console import Monitor
from study.cost import Estimate
from study.mistakes import SpecError
from study.progress import Progress
from study.provenance import provenance
from study.spec import Resources, Spec
from trainers.devices import on_cpu
from trainers.imports import Module, payloads
from trainers.pack import Setting, run_pack

if TYPE_CHECKING:
    from study.tracking import Tracker


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


class Execution:
    """One run of a study: what is missing is trained, and reported."""

    def __init__(
        self,
        progress: Progress,
        tracking_uri: str,
        raw: Mapping[str, Any],
        spec: Spec,
        *,
        local: bool,
    ) -> None:
        self._progress, self._uri, self._raw = progress, tracking_uri, raw
        self._resources, self._imports, self._local = spec.resources, spec.imports, local
        self._id = uuid.uuid4().hex
        self._facts = provenance()
        if self._imports:
            named = [f"{module.name}={module.digest}" for module in self._imports]
            self._facts["imports"] = ", ".join(named)
        # A bar that redraws itself would write over a debugger's prompt.
        self._monitor = Monitor(progress, live=not local)
        self._brake = Brake(progress)

    def go(self, *, address: str | None, debug: bool) -> Outcome:
        """Do all of it; see `Study.run`."""
        progress, monitor = self._progress, self._monitor
        monitor.start()
        try:
            with ThreadPoolExecutor(2) as executor:
                # MLflow's new data base, the timing of a few steps and the start of Ray take
                # seconds each.
                tracking = executor.submit(self._track)
                estimating = executor.submit(
                    cost.estimate, progress, measure=True, on_measure=monitor.say
                )
                if progress.todo and not self._local:
                    code = self._code(address)
                    with _ray(address, self._resources, self._imports) as scheduler:
                        self._train(tracking.result, estimating.result, scheduler, code)
                        alignments = self._align(self._aligner(scheduler, code))
                else:
                    with nullcontext() if self._resources.gpus else on_cpu():
                        if progress.todo:
                            self._train_here(tracking.result, estimating.result, debug=debug)
                        alignments = self._align(alignment_stage.here(progress))
            tracking.result().close({alignment_stage.TABLE: alignments})
        finally:
            monitor.stop()
        monitor.warn_of_mixtures()
        import analysis

        tables = analysis.analyze(
            progress.plan.name, store=progress.store.uri, tracking_uri=self._uri
        )
        if self._brake.reason is not None:
            raise StoppedError(self._brake.reason)
        return Outcome(progress, estimating.result(), tables)

    def _track(self) -> Tracker:
        from study.tracking import Tracker, TrackingError

        try:
            tracker = Tracker(self._progress, self._uri, self._facts, self._monitor.say)
            tracker.start(self._raw)
        except TrackingError as error:
            raise SpecError(f"--tracking-uri: {error}") from error
        return tracker

    def _train_here(
        self,
        tracker: Callable[[], Tracker],
        estimate: Callable[[], Estimate],
        *,
        debug: bool,
    ) -> None:
        self._monitor.begin(estimate(), 1)
        pass_on = self._reporter(tracker())

        def report(payload: dict[str, Any]) -> None:
            pass_on(payload)
            if self._brake.reason is not None and "status" in payload:
                raise _HaltError

        setting = Setting(
            store=self._progress.store.uri, report=report, run=self._id,
            provenance=self._facts, debug=debug,
        )  # fmt: skip
        with suppress(_HaltError):
            run_pack([(r.condition, r.seed) for r in self._progress.todo], setting)

    def _train(
        self,
        tracker: Callable[[], Tracker],
        estimate: Callable[[], Estimate],
        scheduler: ModuleType,
        code: Mapping[str, Any],
    ) -> None:
        progress, todo = self._progress, self._progress.todo
        trials = packing.pack(
            todo,
            estimate().seconds,
            slots=scheduler.slots(self._resources),
            per_trial=self._resources.replicates_per_trial,
        )
        self._monitor.begin(estimate(), len(trials))
        errors = scheduler.run(
            trials,
            self._resources,
            {
                "store": progress.store.uri,
                "run": self._id,
                "provenance": self._facts,
                **code,
            },
            ray_storage=(progress.store.root / "ray").uri,
            report=self._reporter(tracker()),
            stop=lambda: self._brake.reason is not None,
        )
        for replicate in todo:
            progress.refresh(replicate.id)
        for error in errors:
            self._monitor.say(f"a trial ended with an error: {error}")

    def _align(self, missing: alignment_stage.Maker) -> bytes:
        return alignment_stage.run(self._progress, missing, self._monitor.say)

    def _aligner(self, scheduler: ModuleType, code: Mapping[str, Any]) -> alignment_stage.Maker:
        store = self._progress.store.uri
        return lambda new: scheduler.align(
            [asdict(each) for each in new], self._resources, store, code
        )

    def _code(self, address: str | None) -> dict[str, Any]:
        """What workers check and import; Ray brings the modules to a cluster."""
        modules = payloads(self._imports, with_sources=address is None)
        return {"sources": self._facts["source_digest"], "imports": modules}

    def _reporter(self, tracker: Tracker) -> Callable[[dict[str, Any]], None]:
        """Hands what trials report to MLflow, to the brake and to the person who looks on."""

        def report(payload: dict[str, Any]) -> None:
            if "metrics" in payload:
                tracker.log(payload)
            elif "status" in payload:
                self._progress.refresh(payload["replicate_id"])
                tracker.ended(payload["replicate_id"])
            self._brake.note(payload)
            self._monitor.report(payload)

        return report


class _HaltError(Exception):
    """Ends a run in this process."""


@contextmanager
def _ray(
    address: str | None, resources: Resources, imports: Sequence[Module]
) -> Iterator[ModuleType]:
    from study import scheduler

    scheduler.connect(address, [module.path for module in imports])
    try:
        if address is None:
            scheduler.check_room(resources)
        yield scheduler
    finally:
        scheduler.disconnect()
