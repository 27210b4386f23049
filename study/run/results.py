"""Tables and report of a study that has run, made by another process or by this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any

from study.plan.progress import Progress
from study.run import page
from study.run.collecting import collecting
from study.run.interrupts import Interrupts
from study.run.preload import preload
from study.run.table_process import TableProcess
from trainers.store.store import REPLICATE_TABLES, CorruptError


class Results:
    """Makes the tables of a run, then its report; `say` gets lines for a person.

    `apart` from the driver, in a process of their own (see `table_process`), but where that fails.
    """

    def __init__(
        self,
        progress: Progress,
        tracking_uri: str,
        say: Callable[[str], object],
        executor: Executor,
        *,
        apart: bool,
    ) -> None:
        self._progress, self._uri, self._say = progress, tracking_uri, say
        self._executor, self._apart = executor, apart
        self._process = TableProcess(progress.plan.name, progress.store, tracking_uri, say)
        self._preloading: Future[None] | None = None

    def prepare(self, *, nothing_left: bool) -> None:
        """Begin with what takes seconds before any table is made; called at each report.

        In this process beside training; a process of its own once there is `nothing_left` to train.
        """
        if not self._apart:
            self._preloading = self._preloading or self._executor.submit(preload)
        elif nothing_left:
            self._process.start()

    def tables(self, interrupts: Interrupts) -> Mapping[str, Any]:
        """The tables of the study by name, written into store and MLflow.

        Finished replicates whose files turn out to be damaged are missing then, and `say` gets a
        line about each: the next run trains them anew. Raises Interruption at a signal.
        """
        study, store = self._progress.plan.name, self._progress.store.uri
        if self._apart:
            self._process.start()
            names = self._process.tables()
            if names is not None:
                from analysis.encoded_tables import StoredTables

                return StoredTables(study, store, names)
        if self._preloading is not None:
            interrupts.result(self._preloading)
        with interrupts.held():
            # It takes seconds, in which no signal may come.
            from analysis.tables import analyze
        return self._made_here(analyze)

    def report(self) -> str | None:
        """Write the report of the tables; returns its place, None where that failed."""
        made = self._process.report()
        if made is not None:
            return made[0]
        study, store = self._progress.plan.name, self._progress.store
        return page.write(study, store, self._say, tracking_uri=self._uri)

    def stop(self) -> None:
        """End the process, if there is one."""
        self._process.stop()

    def _made_here(self, analyze: Callable[..., Mapping[str, Any]]) -> Mapping[str, Any]:
        from analysis.errors import DamagedFileError

        study, store = self._progress.plan.name, self._progress.store.uri

        def analyzed() -> Mapping[str, Any]:
            with collecting() as passed:
                return analyze(study, store=store, tracking_uri=self._uri, passed=passed)

        try:
            return analyzed()
        except DamagedFileError:
            if not self._discard_damaged():
                raise
        return analyzed()

    def _discard_damaged(self) -> bool:
        """Discard finished replicates with damaged tables; returns whether there were any."""
        progress, found = self._progress, False
        for identifier, state in list(progress.states.items()):
            stored = progress.store.replicate(identifier)
            for name in state.result.files if state.result is not None else ():
                if name not in REPLICATE_TABLES:
                    continue
                try:
                    stored.read(name, state.result)
                except (CorruptError, FileNotFoundError) as error:
                    self._say(f"warning: {error}: run the study again to train it anew")
                    progress.discard(identifier)
                    found = True
                    break
        return found
