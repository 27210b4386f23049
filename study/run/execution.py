"""One run of a study: missing replicates are trained, compared, reported and tabled."""

from __future__ import annotations

import gc
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import yaml

from analysis.contract import ALIGNMENTS, GUIDE_TAPS, MLFLOW_RUNS, PLAN, SPEC
from study.errors import RunError, SpecError
from study.plan import cost, packing
from study.plan.build import Plan
from study.plan.cost import Estimate
from study.plan.progress import Progress
from study.run import comparisons as alignment_stage
from study.run import expected, job
from study.run.advance import Advance
from study.run.batch_job import job_run
from study.run.best_validation import unscored_lines
from study.run.circuit_breaker import CircuitBreaker, StoppedError
from study.run.descriptions import how_far
from study.run.interrupts import Interruption, Interrupts
from study.run.monitor import Monitor
from study.run.page import LivePage
from study.run.provenance import provenance
from study.run.ray_session import RaySession
from study.run.results import Results
from study.run.room import NoRoomError, Room
from study.run.stopping import Stopping
from study.run.waiting import outages_said
from study.spec.read import Spec
from trainers.extensions.user_modules import payloads
from trainers.messages import Ended, Measured, Message, Report
from trainers.runtime.devices import on_cpu
from trainers.store.folder import StorageError
from trainers.training.saving import StopRequestedError
from trainers.trial.trial import TrialContext, run_trial

if TYPE_CHECKING:
    from study.run.event_log import EventLog
    from study.tracking.tracker import Tracker


@dataclass(frozen=True)
class Outcome:
    """The result of a run of a study: states of its replicates, and its tables by name."""

    progress: Progress
    tables: Mapping[str, Any]
    #: Place of the report; None where it could not be written.
    report: str | None = None

    @property
    def complete(self) -> bool:
        """Whether every replicate of the study is finished; failed candidates are results too."""
        return self.progress.complete


class Execution:
    """One run of a study: trains missing replicates, compares networks and writes the tables."""

    def __init__(
        self,
        progress: Progress,
        tracking_uri: str,
        raw: Mapping[str, Any],
        spec: Spec,
        *,
        session: RaySession | None,
        live: bool,
        interrupts: Interrupts,
        plan_anew: Callable[[], Plan],
        page: bool = False,
        wait_seconds: float | None = None,
        log: EventLog | None = None,
        traced: str | None = None,
    ) -> None:
        self._interrupts, self._session, self._plan_anew = interrupts, session, plan_anew
        self._executor = ThreadPoolExecutor(2)
        #: The plan's table by its name, where it is no longer the one that MLflow was given.
        self._grown: dict[str, bytes] = {}
        self._progress, self._uri, self._raw = progress, tracking_uri, raw
        self._resources, self._imports = spec.resources, spec.imports
        self._grows = session is not None and session.address is not None
        self._checkpoint_every = spec.checkpoint_every.value
        self._folder = progress.store.root / "studies" / progress.plan.name
        # A job that trains in this process dies with it, and is started again.
        self._id = (job_run() if session is None else None) or uuid.uuid4().hex
        self._facts = provenance()
        if self._imports:
            named = [f"{module.name}={module.digest}" for module in self._imports]
            self._facts["imports"] = ", ".join(named)
        self._monitor = monitor = Monitor(progress, live=live, log=log, interrupts=interrupts)
        self._page = LivePage(progress.plan.name, progress.store, monitor.facts, monitor.say)
        self._with_page, self._traced = page, traced
        self._breaker, self._advance = CircuitBreaker(progress), Advance()
        self._stopping = Stopping(progress, self._id, interrupts)
        self._wait_seconds = wait_seconds
        self._room: Room | None = None
        self._results = Results(
            progress, tracking_uri, monitor.say, self._executor, apart=session is not None
        )

    def _write_plan(self) -> bytes:
        """Write the plan's table into the store; returns it."""
        from study.plan import table

        content = table.encode(self._progress.plan, self._facts)
        self._folder.write(PLAN, content)
        return content

    def go(self, *, debug: bool) -> Outcome:
        """Train, compare and tabulate; arguments and errors are those of `Study.run`."""
        monitor, executor, patient = self._monitor, self._executor, True
        plan = self._write_plan()
        try:
            with self._interrupts.polite(shown=monitor.live), outages_said(monitor.say):
                monitor.start()
                if self._with_page:
                    self._page.start()
                # MLflow, counting what replicates cost and the start of Ray take seconds each.
                tracking = executor.submit(self._track, plan)
                estimating = self._estimating()
                try:
                    self._do(tracking, estimating, debug=debug)
                except Interruption:
                    self._leave(tracking)
                    raise
            self._interrupts.check()
            monitor.stop()
            tables = self._tables()
            self._page.stop()
            place = self._results.report()
        except Interruption as interruption:
            patient = False
            interruption.message, interruption.left = how_far(self._progress)
            self._page.stop((interruption.message,))
            raise
        finally:
            executor.shutdown(wait=patient)
            monitor.stop()
            self._results.stop()
            self._page.stop(("the run has ended with an error",))
        if self._breaker.reason is not None:
            raise StoppedError(self._breaker.reason)
        return Outcome(self._progress, tables, place)

    def _do(self, tracking: Future[Tracker], estimating: Future[Estimate], *, debug: bool) -> None:
        progress = self._progress
        if self._session is not None:
            code = self._code(self._session.address)
            with self._ray(self._session) as ray_tune:
                self._train(tracking, estimating, ray_tune, code)
                while self._goes_on():
                    self._train(tracking, self._estimating(), ray_tune, code)
                alignments = self._align(self._aligner(ray_tune, code))
        else:
            with nullcontext() if self._resources.gpus else on_cpu(), self._interrupts.hasty():
                if progress.todo:
                    self._train_here(tracking, estimating, debug=debug)
                while self._has_grown():
                    self._train_here(tracking, self._estimating(), debug=debug)
                alignments = self._align(alignment_stage.here(progress, self._interrupts.check))
        for name, content in alignments.items():
            self._folder.write(name, content)
        tracker = self._interrupts.result(tracking)
        tracker.close({**alignments, **self._grown})
        self._folder.write(MLFLOW_RUNS, json.dumps(tracker.run_ids(), indent=1).encode())

    def _goes_on(self) -> bool:
        """Whether there is more to train: left by trials that died too often, or new in the plan.

        While some of it advances, what is left is begun again, by new trials.
        """
        left, advanced = len(self._progress.todo), self._advance.take()
        if left and advanced and self._breaker.reason is None:
            self._monitor.say(f"trials have ended early and left {left} replicates: once more")
            return True
        return self._has_grown()

    def _has_grown(self) -> bool:
        """Plan anew where results are awaited; returns whether there is more to train.

        Not where an earlier run has finished what follows: `retry` may have repeated a candidate.
        """
        progress = self._progress
        if self._breaker.reason is not None or not progress.plan.later:
            return False
        if not progress.take(self._plan_anew()):
            return False
        self._grown = {PLAN: self._write_plan()}
        return bool(progress.todo)

    def _estimating(self) -> Future[Estimate]:
        return self._executor.submit(cost.estimate, self._progress)

    def _tables(self) -> Mapping[str, Any]:
        self._monitor.warn_of_mixtures()
        progress = self._progress
        tables = self._results.tables(self._interrupts)
        for line in unscored_lines(progress, lambda: tables["history"]):
            self._monitor.say(line)
        return tables

    def _leave(self, tracking: Future[Tracker]) -> None:
        """Bring MLflow to the state of the store after an interruption."""
        for replicate in self._progress.todo:
            self._progress.refresh(replicate.id)
        try:
            tracking.result().close(interrupted=True)
        except (RunError, SpecError, StorageError) as error:
            self._monitor.say(f"warning: {error}; the next run writes it")

    def _track(self, plan: bytes) -> Tracker:
        from study.tracking.tracker import Tracker, TrackingError

        try:
            tracker = Tracker(self._progress, self._uri, self._facts, self._monitor.say)
            spec = yaml.safe_dump(dict(self._raw), sort_keys=False).encode()
            tracker.start({SPEC: spec, PLAN: plan})
        except TrackingError as error:
            raise SpecError(f"--tracking-uri: {error}") from error
        return tracker

    def _train_here(
        self,
        tracking: Future[Tracker],
        estimating: Future[Estimate],
        *,
        debug: bool,
    ) -> None:
        interrupts = self._interrupts
        estimate = interrupts.result(estimating)
        self._expect(estimate)
        todo = tuple(self._progress.todo)
        seconds = sum(estimate.seconds[replicate.id] for replicate in todo)
        self._monitor.begin(estimate, [packing.Trial(todo, seconds)], start_seconds=0.0)
        pass_on = self._reporter(interrupts.result(tracking))

        def report(message: Message) -> None:
            pass_on(message)
            if self._breaker.reason is not None and isinstance(message, Ended):
                raise _HaltError

        context = TrialContext(
            store=self._progress.store.uri, report=report, run=self._id,
            provenance=self._facts, debug=debug, stop=lambda: interrupts.requested,
            checkpoint_every=self._checkpoint_every,
            comparisons=alignment_stage.by_replicate(self._progress.plan),
            best_validation={r.id for r in self._progress.todo if r.planned.best_validation},
            traced=self._traced,
        )  # fmt: skip
        with suppress(_HaltError, StopRequestedError):
            run_trial([(r.condition, r.seed) for r in self._progress.todo], context)
        interrupts.check()

    def _train(
        self,
        tracking: Future[Tracker],
        estimating: Future[Estimate],
        ray_tune: ModuleType,
        code: Mapping[str, Any],
    ) -> None:
        progress, todo = self._progress, self._progress.todo
        estimate = self._interrupts.result(estimating)
        tracker = self._interrupts.result(tracking)
        slots = ray_tune.slots(self._resources, grows=self._grows)
        per_trial = self._resources.replicates_per_trial
        trials = packing.pack(todo, estimate.seconds, slots=slots, per_trial=per_trial)
        self._expect(estimate)
        self._monitor.begin(estimate, trials, slots=slots)
        errors = ray_tune.run(
            trials,
            self._resources,
            {
                "store": progress.store.uri,
                "run": self._id,
                "provenance": self._facts,
                "checkpoint_every": asdict(self._checkpoint_every),
                "traced": self._traced,
                **code,
            },
            comparisons=alignment_stage.by_replicate(progress.plan),
            ray_storage=(progress.store.root / "ray").uri,
            report=self._reporter(tracker),
            stop=self._is_over,
        )
        self._interrupts.check()
        for replicate in todo:
            progress.refresh(replicate.id)
        for error in errors:
            self._monitor.say(f"a trial ended with an error: {error}")

    def _expect(self, estimate: Estimate) -> None:
        """Keep what is expected of the replicates that are about to train."""
        todo = [replicate.id for replicate in self._progress.todo]
        expected.remember(self._folder, {name: estimate.seconds[name] for name in todo})

    @contextmanager
    def _ray(self, session: RaySession) -> Iterator[ModuleType]:
        """Wait until Ray is up, and end it afterwards."""
        from study.run import ray_tune

        try:
            self._interrupts.result(session.up)
            self._interrupts.retake()
            # Not what is there for the whole run: looking at it at the end takes half a second.
            gc.freeze()
            if session.address is None:
                ray_tune.check_room(self._resources)
            else:
                session.watch(self._monitor.say, self._interrupts.end)
                self._room = Room(
                    self._resources, ray_tune.nodes, self._monitor.say,
                    wait_seconds=self._wait_seconds,
                )  # fmt: skip
            self._progress.store.announce(self._id)
            yield ray_tune
        except BaseException as error:
            session.end()
            self._stopping.end()
            with suppress(OSError):
                self._progress.store.withdraw(self._id)
            if isinstance(error, Exception):
                # A signal for all processes at once ends Ray's under the driver.
                self._interrupts.check()
            raise
        session.end()
        self._progress.store.withdraw(self._id)

    def _is_over(self) -> bool:
        """Whether all trials are to end now; raises Interruption when they have stopped."""
        if self._interrupts.requested:
            self._stopping.look()
        try:
            self._look_for_room()
        except NoRoomError as error:
            self._breaker.reason = str(error)
        return self._breaker.reason is not None

    def _look_for_room(self) -> None:
        if self._room is not None:
            self._room.look()

    def _align(self, missing: alignment_stage.Maker) -> dict[str, bytes]:
        folder = self._folder
        names = (ALIGNMENTS, GUIDE_TAPS)
        before = {name: folder.read(name) for name in names if folder.exists(name)}
        return alignment_stage.run(self._progress, missing, self._monitor.say, before)

    def _aligner(self, ray_tune: ModuleType, code: Mapping[str, Any]) -> alignment_stage.Maker:
        def check() -> None:
            self._interrupts.check()
            self._look_for_room()

        def on_ray(new: list[alignment_stage.Asked]) -> Any:
            asked = [asdict(each) for each in new]
            return ray_tune.align(asked, self._resources, progress.store.uri, code, check)

        progress = self._progress
        here = alignment_stage.here(progress, self._interrupts.check)
        return alignment_stage.or_here(on_ray, ray_tune.GONE, self._monitor.say, here)

    def _code(self, address: str | None) -> dict[str, Any]:
        """Source digest and user modules of the workers; Ray brings the files to a cluster."""
        modules = payloads(self._imports, with_sources=address is None or job.inside())
        return {"sources": self._facts["source_digest"], "imports": modules}

    def _reporter(self, tracker: Tracker) -> Report:
        """A report that passes messages of trials to tracker, circuit breaker and monitor."""
        left = {replicate.id for replicate in self._progress.todo}

        def report(message: Message) -> None:
            if isinstance(message, Ended):
                self._progress.refresh(message.replicate_id)
                left.discard(message.replicate_id)
            self._results.prepare(nothing_left=not left)
            if isinstance(message, Measured | Ended):
                tracker.mark(message.replicate_id)
            self._breaker.note(message)
            self._advance.note(message)
            self._monitor.report(message)

        return report


class _HaltError(Exception):
    """Ends a run in this process."""
