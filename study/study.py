"""The Python API of a study: load, plan, run, analyse."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import yaml

from analysis.contract import SPEC
from analysis.names import DEFAULT_STORE
from study.plan.build import Plan
from study.plan.progress import Progress
from study.plan.rehearsals import rehearse
from study.plan.weights import Sources, pinned
from study.run import job
from study.run.at_work import at_work
from study.run.environment import prepare
from study.run.event_log import EventLog
from study.run.execution import Execution, Outcome
from study.run.interrupts import Interrupts
from study.run.locations import open_store, tracking_uri_of
from study.run.ray_session import RaySession
from study.run.traced import chosen
from study.run.waiting import outages_said
from study.run.weights import provide
from study.run.work import Worker
from study.search.arm import NO_RESULTS, Results
from study.search.in_store import StoreResults
from study.spec.expectations import check_terms
from study.spec.files import load, opening
from study.spec.read import Spec, SpecError, read
from study.spec.settings import as_list
from study.spec.user_modules import reactivated, sources
from trainers.extensions.module import Module
from trainers.store.folder import Folder
from trainers.store.store import Store

__all__ = ["DEFAULT_STORE", "Outcome", "Study"]


class Study:
    """A study: `Study(name=..., task=...)` with the keys of a spec, or `Study.load`.

    The user's modules that it imports are read once, now; later changes of their files have no
    effect. Paths are relative to the current folder, or to that of the YAML file. Raises SpecError.
    """

    def __init__(self, **spec: Any) -> None:
        self.spec: Spec = read(spec, imports_from=Path.cwd())
        if "imports" in spec:
            # Paths as YAML can hold them.
            spec["imports"] = [os.fspath(path) for path in as_list(spec["imports"])]
        self._raw: Mapping[str, Any] = spec
        #: The comment at the top of its YAML, which the store's spec keeps.
        self._opening = ""
        self._source = "spec"
        self._sources = Sources()

    @classmethod
    def load(cls, source: str | Path) -> Study:
        """The study of a preset's name or a YAML file; raises SpecError."""
        study = cls.__new__(cls)
        study._raw, study.spec = load(source)
        study._source = str(source)
        study._opening = opening(source)
        study._sources = Sources(Path(source).parent)
        return study

    @classmethod
    def of(cls, content: Mapping[str, Any], modules: Sequence[Module]) -> Study:
        """The study of a spec as a store has it, its modules in use; raises SpecError."""
        study = cls.__new__(cls)
        study._raw, study.spec = content, read(content, modules=modules)
        study._opening, study._source = "", "spec"
        study._sources = Sources()
        return study

    @property
    def name(self) -> str:
        """The study's name."""
        return self.spec.name

    @property
    def raw(self) -> Mapping[str, Any]:
        """The spec as it was given."""
        return self._raw

    @property
    def opening(self) -> str:
        """The comment at the top of its YAML, which says what is asked; may be empty."""
        return self._opening

    def plan(self, *, debug: bool = False, results: Results = NO_RESULTS) -> Plan:
        """All replicates with their content ids; starts nothing. Raises SpecError.

        With `debug` every condition is cut to one seed and two steps. With a search, what is
        planned follows from the `results` of candidates, by default none
        (`study.search.in_store.StoreResults` has those of a store).
        """
        with self._named():
            reactivated(self.spec.imports)
            plan = Plan(self.spec, debug=debug, sources=self._sources, results=results)
            # Rules may name numbers of steps, which `debug` cuts.
            declared = Plan(self.spec, sources=self._sources, results=results) if debug else plan
            check_terms(self.spec, declared.first_rows())
        return plan

    def validate(self) -> Plan:
        """The plan, after each of its networks, tasks and guidances was tried on a few examples.

        Trains nothing. Raises SpecError with a line for each that cannot be trained as it is.
        """
        plan = self.plan()
        with self._named():
            rehearse([planned.condition for planned in plan.conditions])
        return plan

    def run(
        self,
        *,
        store: str | os.PathLike[str] = DEFAULT_STORE,
        tracking_uri: str | None = None,
        address: str | None = None,
        local: bool = False,
        debug: bool = False,
        retry: bool = False,
        page: bool = False,
        wait_seconds: float | None = None,
        log_json: str | os.PathLike[str] | None = None,
        profile: bool = False,
        interrupts: Interrupts | None = None,
    ) -> Outcome:
        """Train the replicates that the store lacks, project them into MLflow, write the tables.

        `address` names a Ray cluster; by default Ray is started on this machine. Where no node of a
        cluster has room for a trial, the run waits for one, for `wait_seconds` at most. `local`
        trains in this process without Ray, with one worker. `debug` trains two steps of one seed;
        with `local` too, an exception of a replicate is raised where it happens. `retry` also
        trains replicates that failed before, and those that they blocked. The report is written at
        the end, and with `page` every ten seconds while the study runs. `log_json` names a file to
        which events are appended as lines of JSON. With `profile` a trace of some training steps
        of one replicate is written to the store.

        Raises SpecError before anything is trained when the study, its data, the store, the
        tracking URI or the resources cannot be used; TrackingError when MLflow did not take the
        results; StoppedError when the circuit breaker stopped the study; and Interruption when
        `interrupts`, if given and entered, got a signal: trials have stopped at a checkpoint then,
        and MLflow has what the store has.
        """
        address = job.address(address)
        prepare(starts_ray=not local and address is None)
        place = open_store(store)
        uri = tracking_uri_of(place, tracking_uri)
        plan_anew = self._planner(place, debug=debug)
        with at_work(self._folder(place), self.name), EventLog(log_json, self.name) as log:
            progress = self._progress(place, plan_anew, retry=retry)
            with self._ray(progress, address, local=local) as session:
                raw = self._begin(progress, debug=debug)
                # A bar that redraws itself would write over a debugger's prompt.
                execution = Execution(
                    progress, uri, raw, self.spec, session=session, live=not local,
                    interrupts=interrupts or Interrupts(), plan_anew=plan_anew, page=page, log=log,
                    wait_seconds=wait_seconds, traced=chosen(progress.todo, profile=profile),
                )  # fmt: skip
                outcome = execution.go(debug=debug)
                log.conclude(progress)
                return outcome

    def work(
        self,
        *,
        store: str | os.PathLike[str] = DEFAULT_STORE,
        log_json: str | os.PathLike[str] | None = None,
        profile: bool = False,
        interrupts: Interrupts | None = None,
        say: Callable[[str], object] = lambda _line: None,
    ) -> Progress:
        """Train as one of many processes that share a store and nothing else, in this process.

        Returns when each replicate is finished, failed or blocked, whoever trained it; `say` gets a
        line for each that ended here. MLflow and the tables are left to `run`. `log_json` gets the
        events of this process, `profile` is as for `run`. Raises SpecError as `run` does, and
        Interruption after a signal, at a checkpoint.
        """
        place = open_store(store)
        plan_anew = self._planner(place)
        with EventLog(log_json, self.name) as log:
            progress = self._progress(place, plan_anew)
            self._begin(progress)
            worker = Worker(
                progress, self.spec, plan_anew=plan_anew, interrupts=interrupts or Interrupts(),
                say=say, log=log, traced=chosen(progress.todo, profile=profile),
            )  # fmt: skip
            with outages_said(worker.say):
                worker.go()
            log.conclude(progress)
        return progress

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the spec in every line of a SpecError."""
        try:
            yield
        except SpecError as error:
            lines = str(error).splitlines()
            raise SpecError("\n".join(f"{self._source}: {line}" for line in lines)) from error

    def _planner(self, store: Store, *, debug: bool = False) -> Callable[[], Plan]:
        """Plans the study anew at each call, by what the store then has of a search's results.

        A study without a search keeps its plan. Raises SpecError where it, or its data, cannot be
        used.
        """
        first = self.plan(debug=debug)
        first.check_data()
        if not first.later:
            return lambda: first
        results = StoreResults(store)

        def plan_anew() -> Plan:
            plan = self.plan(debug=debug, results=results.look())
            results.discard_damaged()
            return plan

        return plan_anew

    def _folder(self, store: Store) -> Folder:
        return store.root / "studies" / self.name

    def _progress(
        self, store: Store, plan_anew: Callable[[], Plan], *, retry: bool = False
    ) -> Progress:
        """How far the study is, with the weights in the store that the rest needs.

        With `retry` failures are forgiven, so that they are left to train.
        """
        progress = Progress(plan_anew(), store)
        if retry:
            progress.forgive()
            progress.take(plan_anew())
        provide(progress)
        return progress

    def _ray(
        self, progress: Progress, address: str | None, *, local: bool
    ) -> AbstractContextManager[RaySession | None]:
        """The Ray that trains what is left; None where nothing is, or `local` does without."""
        if local or not progress.todo:
            return nullcontext()
        return RaySession(address, [module.path for module in self.spec.imports])

    def _begin(self, progress: Progress, *, debug: bool = False) -> Mapping[str, Any]:
        """Rehearse what is left to train, then write the spec; returns the spec."""
        if not debug:
            # Under a debugger an exception is to be raised in training, not here.
            with self._named():
                rehearse(dict.fromkeys(r.condition for r in progress.todo))
        return self._write_spec(self._folder(progress.store))

    def _write_spec(self, folder: Folder) -> Mapping[str, Any]:
        """Write the spec, with pinned weights, and the sources of its modules; returns the spec."""
        raw: Mapping[str, Any] = pinned(self._raw, self._sources.pins)
        text = self._opening + yaml.safe_dump(raw, sort_keys=False)
        folder.write(SPEC, text.encode())
        if self.spec.imports:
            for name, text in sources(self.spec.imports):
                folder.write(f"imports/{name}", text.encode())
        return raw
