"""The display of a run: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import (
    Progress as Bar,
)

from analysis.contract import Status
from analysis.report.facts import Facts, Live
from study.run.descriptions import describe, duration, mixtures, shown
from study.run.remaining import Remaining
from trainers.messages import Aborted, Ended, Measured, Message, Warned

if TYPE_CHECKING:
    from study.plan.cost import Estimate
    from study.plan.progress import Progress


class Monitor:
    """Shows a run: finished replicates, failures with their causes, and the time left.

    With `live` a terminal gets a bar; otherwise there is a line every `line_seconds` at most.
    """

    def __init__(
        self, progress: Progress, *, live: bool = True, line_seconds: float = 15.0
    ) -> None:
        self._progress, self._line_seconds = progress, line_seconds
        self._console = Console(soft_wrap=True)
        self._live = live and self._console.is_terminal
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[rest]}"),
            console=self._console,
            disable=not self._live,
        )
        self._task = self._bar.add_task("starting", total=self._total, rest="")
        self._started = self._last_line = time.monotonic()
        self._finished = self._finished_before = 0
        self._latest: str | None = None
        self._said: set[str] = set()
        self._remaining = Remaining({})

    def start(self) -> None:
        """Begin to show progress."""
        counts = self._progress.counts()
        total, later = len(self._progress.plan), len(self._progress.plan.later)
        text = f"{self._progress.plan.name}: {total} replicates, {shown(counts)}"
        self.say(f"{text}; {later} more follow from their results" if later else text)
        self._finished = self._finished_before = counts[Status.finished]
        self._bar.start()
        self._bar.update(self._task, completed=self._finished)

    @property
    def _total(self) -> int:
        """Number of replicates, those that a search asks for later among them."""
        return len(self._progress.plan) + len(self._progress.plan.later)

    def begin(self, estimate: Estimate, num_trials: int) -> None:
        """Say how much is about to train; `estimate` gives each replicate's share of the time."""
        todo = self._progress.todo
        self.say(f"training {len(todo)} replicates in {num_trials} trials")
        self._bar.update(self._task, description="training", total=self._total)
        self._remaining = Remaining({r.id: estimate.seconds[r.id] for r in todo})

    def report(self, message: Message) -> None:
        """Show one message of a trial."""
        if isinstance(message, Aborted):
            self.say(f"error in a trial: {message.traceback}")
            return
        replicate = self._progress.by_id[message.replicate_id]
        name = self._latest = describe(replicate)
        if isinstance(message, Warned):
            self.say(f"warning: {name}: {message.text}")
        if isinstance(message, Ended):
            if message.error is not None:
                self._say_once(f"{message.status}: {name}: {message.error}")
            self._finished = self._progress.counts()[Status.finished]
            self._remaining.ended(message.replicate_id)
        if isinstance(message, Measured):
            num_steps = replicate.num_steps or 1
            self._remaining.trained(message.replicate_id, message.step / num_steps)
        seconds = self._remaining.seconds()
        rest = "" if seconds is None else f", about {duration(seconds)} left"
        self._bar.update(
            self._task, completed=self._finished, description=f"training {name}", rest=rest[2:]
        )
        now = time.monotonic()
        if not self._live and now - self._last_line >= self._line_seconds:
            self._last_line = now
            total = self._total
            passed = duration(now - self._started)
            self.say(f"{passed}: {self._finished} of {total} finished{rest}, at {name}")

    def facts(self) -> Facts:
        """The state of the run, for its page."""
        passed = time.monotonic() - self._started
        done = self._finished - self._finished_before
        live = Live(
            finished=self._finished,
            total=self._total,
            seconds_passed=passed,
            seconds_left=self._remaining.seconds(),
            per_minute=60 * done / passed if done else None,
            running=() if self._latest is None else (self._latest,),
        )
        return Facts(live=live)

    def warn_of_mixtures(self) -> None:
        """Warn where replicates differ in torch version, device or data."""
        for text in mixtures(self._progress):
            self.say(f"warning: {text}")

    def _say_once(self, text: str) -> None:
        # A trial that was restarted reports anew what had ended before.
        if text not in self._said:
            self._said.add(text)
            self.say(text)

    def say(self, text: str) -> None:
        """Print a line above the progress."""
        self._console.print(text, markup=False, highlight=False)

    def stop(self) -> None:
        """Stop showing progress."""
        self._bar.stop()
