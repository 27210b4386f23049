"""The log of a run for programs: a line of JSON for each event, with its replicate."""

from __future__ import annotations

import json
import math
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from analysis.contract import Status
from study.errors import SpecError
from study.plan.progress import Progress
from trainers.messages import Message, encode
from trainers.secrets import masked


class EventLog:
    """Appends events of a study's runs to a file; `with EventLog(...) as log` closes it.

    Each line has `time` (UTC, ISO 8601), `study`, `event`, and what belongs to it: `measured`,
    `ended`, `warned`, `traced` and `aborted` the fields of `trainers.messages`, `said` the `text`
    of a line that the run printed at work, and last `over` a `status` (`complete`, `incomplete`,
    `interrupted` or `error`) and `text`; a process that is killed writes none. Values that are no
    numbers are null. Raises SpecError where the file cannot be written; where that happens later,
    the run goes on without it. Without a `path` nothing is logged.
    """

    def __init__(self, path: str | os.PathLike[str] | None, study: str) -> None:
        self._study = study
        self._file: TextIO | None = None
        if path is None:
            return
        self._path = Path(path)
        try:
            # A line is written whole when it ends, so that others can follow.
            self._file = self._path.open("a", buffering=1, encoding="utf-8")
        except OSError as error:
            raise SpecError(f"--log-json: {path} cannot be written: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "error"
            self.over(status, str(getattr(error, "message", error)) or type(error).__name__)
        if self._file is not None:
            self._file.close()

    def over(self, status: str, text: str) -> None:
        """Log how the run ended; an error that leaves `with` is logged by itself."""
        self._write("over", {"status": status, "text": text})

    def conclude(self, progress: Progress) -> None:
        """Log that a run is over, and how far it got."""
        counts = progress.counts()
        text = f"{counts[Status.finished]} of {counts.total()} replicates are finished"
        self.over("complete" if progress.complete else "incomplete", text)

    def say(self, text: str) -> None:
        """Log a line that the run printed."""
        self._write("said", {"text": text})

    def report(self, message: Message) -> None:
        """Log a message of a trial."""
        content = encode(message)
        self._write(content.pop("kind").lower(), content)

    def _write(self, event: str, content: dict[str, Any]) -> None:
        if self._file is None:
            return
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": time, "study": self._study, "event": event} | content
        try:
            self._file.write(masked(json.dumps(_finite(line), allow_nan=False)) + "\n")
        except OSError as error:
            print(f"warning: {self._path} gets no more: {error.strerror}", file=sys.stderr)
            self._file = None


def _finite(value: Any) -> Any:
    """A value with None in place of infinities and NaN, which JSON has not."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
