"""A process that makes the tables and the report of a run: `python -m study.run.table_process`.

It is started when nothing is left to train, and imports what tables need while Ray ends. The memory
that tables take, which grows with the number of answers, is its own: the driver stays as it was
while replicates trained.

The first line of its standard input says of what study, as JSON; each further one names what it is
to make, and gets a line on its standard output. Where it cannot do its work it ends, and the driver
does it, whose errors are for a person.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from analysis.errors import DamagedFileWarning, NotWrittenWarning, UserError
from study.run import beside, page
from study.run.collecting import collecting
from study.run.preload import preload
from trainers.store.store import Store

#: Warnings that a person is to see, by name.
_TOLD = {each.__name__: each for each in (NotWrittenWarning, DamagedFileWarning)}
#: Exit status after an error that the driver meets again.
_MISTAKE = 2
#: Seconds that a process gets to end.
_PATIENCE = 5.0


class TableProcess:
    """Makes a study's tables, then its report, elsewhere; `say` gets lines for a person.

    `tables` and `report` return None where the process is not there or has ended without.
    """

    def __init__(
        self, study: str, store: Store, tracking_uri: str, say: Callable[[str], object]
    ) -> None:
        # Not as arguments of the process, which all can see: a URI may have a password.
        self._about = json.dumps({"study": study, "store": store.uri, "tracking_uri": tracking_uri})
        self._say = say
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the process, unless it was started."""
        if self._process is None:
            self._process = beside.start(__name__, stdout=subprocess.PIPE)
            self._send(self._process, self._about)

    def tables(self) -> list[str] | None:
        """Make the tables in the store and MLflow, as `analysis.analyze`; returns their names."""
        answer = self._ask("tables")
        names: list[str] | None = None if answer is None else answer["tables"]
        return names

    def report(self) -> tuple[str | None] | None:
        """Write the report of these tables; returns its place, None in it where that failed."""
        answer = self._ask("report")
        return None if answer is None else (answer["report"],)

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.terminate()
        with suppress(OSError):
            process.stdin.close()
        process.stdout.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)

    def _send(self, process: subprocess.Popen[str], line: str) -> None:
        assert process.stdin is not None
        # Where it has ended there is no answer either.
        with suppress(OSError):
            process.stdin.write(line + "\n")
            process.stdin.flush()

    def _ended(self, process: subprocess.Popen[str]) -> None:
        with suppress(subprocess.TimeoutExpired):
            if process.wait(_PATIENCE) != _MISTAKE:
                code = process.returncode
                self._say(f"warning: the process for tables has ended ({code}): made here")
        self.stop()

    def _ask(self, what: str) -> dict[str, Any] | None:
        process = self._process
        if process is None:
            return None
        assert process.stdout is not None
        self._send(process, what)
        line = process.stdout.readline()
        if not line:
            self._ended(process)
            return None
        answer: dict[str, Any] = json.loads(line)
        for name, text in answer["warnings"]:
            warnings.warn(text, _TOLD[name], stacklevel=4)
        for text in answer["lines"]:
            self._say(text)
        return answer


def main() -> None:
    """Answer the lines of the standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Whatever is printed meanwhile is for a person.
    os.dup2(2, 1)
    about = _Study(**json.loads(sys.stdin.readline()))
    _prepare(about)
    for line in sys.stdin:
        print(json.dumps(_answer(line.strip(), about)), file=answers, flush=True)


class _Study(NamedTuple):
    study: str
    store: str
    tracking_uri: str


def _prepare(about: _Study) -> None:
    """Import what is needed, that of MLflow by opening it."""
    preload()
    from analysis.study_run import opened

    # What is wrong with it is told when tables are to be logged.
    with suppress(Exception):
        opened(*about)


def _answer(what: str, about: _Study) -> dict[str, Any]:
    lines: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        for category in _TOLD.values():
            warnings.simplefilter("always", category)
        made = _MAKERS[what](about, lines.append)
    told = [(each.category.__name__, str(each.message)) for each in caught]
    return {"lines": lines, "warnings": [each for each in told if each[0] in _TOLD], what: made}


def _tables(about: _Study, _say: Callable[[str], object]) -> list[str]:
    import analysis

    study, store, uri = about
    with collecting() as passed:
        return list(analysis.analyze(study, store=store, tracking_uri=uri, passed=passed))


def _report(about: _Study, say: Callable[[str], object]) -> str | None:
    return page.write(about.study, Store(about.store), say, tracking_uri=about.tracking_uri)


_MAKERS = {"tables": _tables, "report": _report}

if __name__ == "__main__":
    try:
        main()
    except UserError:
        # A damaged file, say: the driver meets it again, and says what to do.
        sys.exit(_MISTAKE)
    except BrokenPipeError:
        # Nobody waits for an answer: the driver was killed.
        os._exit(1)
