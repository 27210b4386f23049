"""The report of a run: written at its end, and again and again while it goes on."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress

from analysis.contract import REPORT
from analysis.hints import command
from analysis.report.facts import Facts
from study.run import beside
from trainers.store.store import Store

#: Seconds between two pages of a run that goes on.
PAGE_SECONDS = 10.0
#: Seconds that the end of a run waits for its last page.
_PATIENCE = 15.0


def uri_of(study: str, store: Store) -> str:
    """The place of a study's report."""
    return f"{(store.root / 'studies' / study).uri}/{REPORT}"


def write(
    study: str, store: Store, say: Callable[[str], object], *, tracking_uri: str
) -> str | None:
    """Write the report of finished tables, log it to the study's run in MLflow; returns its place.

    A report of the same tables stays as it is. None where that failed, after a line that says why:
    the tables are there, and a report can be made at any time.
    """
    import analysis
    from analysis import report

    try:
        report.renew(study, store.uri)
    except Exception as error:
        cause = (str(error).splitlines() or [""])[0]
        say(
            f"warning: no report was written ({type(error).__name__}: {cause}); "
            f"{command('report', study, store=store.uri)} makes one"
        )
        return None
    analysis.log_report(study, store=store.uri, tracking_uri=tracking_uri)
    return uri_of(study, store)


class LivePage:
    """The report of a run that goes on, made by a process of its own at low priority.

    `facts` gives the state of the run, every `seconds`. Lines that a person should see are passed
    to `say`.
    """

    def __init__(
        self,
        study: str,
        store: Store,
        facts: Callable[[], Facts],
        say: Callable[[str], None],
        *,
        seconds: float = PAGE_SECONDS,
    ) -> None:
        self._study, self._store, self._facts, self._say = study, store, facts, say
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="page", daemon=True)
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Write the page from now on."""
        # A session of its own: its last page is to come after a signal, too.
        self._process = beside.start("analysis.report.live", self._study, self._store.uri)
        self._say(f"page: {uri_of(self._study, self._store)}")
        self._thread.start()

    def stop(self, notes: tuple[str, ...] | None = None) -> None:
        """Write no more; with `notes`, the lines of a run that did not end, after a last page."""
        process = self._process
        if process is None:
            return
        self._process = None
        self._over.set()
        self._thread.join()
        if notes is not None:
            self._send(process, Facts(notes=notes))
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
        if notes is None:
            process.terminate()
        # A last page that takes longer is written all the same: its process ends by itself.
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)

    def _go_on(self) -> None:
        process = self._process
        assert process is not None
        while self._send(process, self._facts()) and not self._over.wait(self._seconds):
            pass

    def _send(self, process: subprocess.Popen[str], facts: Facts) -> bool:
        """Pass facts on; False where the process has ended."""
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(facts.content()) + "\n")
            process.stdin.flush()
        except OSError:
            if not self._over.is_set():
                self._say("warning: the page is written no more: its process has ended")
            return False
        return True
