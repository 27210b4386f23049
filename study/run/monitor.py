"""The display of a run: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import (
    Progress as Bar,
)
from rich.text import Text

from analysis.contract import Status
from analysis.quantities import duration
from analysis.report.facts import Facts, Live
from study.run.descriptions import describe, mixtures, shown
from study.run.interrupts import STOPPING, Interrupts
from study.run.pace import per_time, rate
from study.run.remaining import REPLICATE_SECONDS, START_SECONDS, Remaining
from trainers.messages import Aborted, Ended, Measured, Message, Traced, Warned
from trainers.secrets import masked

if TYPE_CHECKING:
    from study.plan.cost import Estimate
    from study.plan.packing import Trial
    from study.plan.progress import Progress
    from study.run.event_log import EventLog

#: The time left is worked out so often at most: it takes a look at every replicate.
_LOOK_SECONDS = 1.0


class Monitor:
    """Shows a run: finished replicates, their rate, failures with their causes, and the time left.

    With `live` a terminal gets a bar, which acknowledges a signal of `interrupts`; otherwise there
    is a line every `line_seconds` at most. All that is said and reported is in the `log` too, if
    there is one.
    """

    def __init__(
        self,
        progress: Progress,
        *,
        live: bool = True,
        line_seconds: float = 15.0,
        log: EventLog | None = None,
        interrupts: Interrupts | None = None,
    ) -> None:
        self._progress, self._line_seconds, self._log = progress, line_seconds, log
        self._console = Console(soft_wrap=True)
        #: Whether there is a bar.
        self.live = live and self._console.is_terminal
        self._bar = _Bar(
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[rest]}"),
            console=self._console,
            disable=not self.live,
        )
        self._bar.interrupts = interrupts
        self._task = self._bar.add_task("", total=self._total, rest="starting")
        self._started = self._last_line = time.monotonic()
        self._looked = -_LOOK_SECONDS
        self._finished = self._failed = 0
        self._latest: str | None = None
        self._said: set[str] = set()
        self._remaining: Remaining | None = None
        self._left: float | None = None
        #: When replicates ended, and when the first was heard of.
        self._ends: list[float] = []
        self._heard: float | None = None

    def start(self) -> None:
        """Begin to show progress."""
        counts = self._progress.counts()
        total, later = len(self._progress.plan), len(self._progress.plan.later)
        text = f"{self._progress.plan.name}: {total} replicates, {shown(counts)}"
        self.say(f"{text}; {later} more follow from their results" if later else text)
        self._count()
        self._bar.start()
        self._bar.update(self._task, completed=self._finished)

    @property
    def _total(self) -> int:
        """Number of replicates, those that a search asks for later among them."""
        return len(self._progress.plan) + len(self._progress.plan.later)

    def begin(
        self,
        estimate: Estimate,
        trials: Sequence[Trial],
        *,
        slots: int = 1,
        start_seconds: float = START_SECONDS,
    ) -> None:
        """Say how much is about to train, and how long it may take.

        `estimate` gives each replicate's share of the time, `slots` is the number of trials at
        once, each of which starts for `start_seconds`.
        """
        replicates = [replicate for trial in trials for replicate in trial.replicates]
        self._remaining = Remaining(
            trials=[[replicate.id for replicate in trial.replicates] for trial in trials],
            costs={r.id: estimate.seconds[r.id] + REPLICATE_SECONDS for r in replicates},
            alike={replicate.id: id(replicate.planned) for replicate in replicates},
            slots=slots,
            start_seconds=start_seconds,
            now=time.monotonic,
        )
        self._left = self._remaining.seconds()
        about = f", perhaps {duration(self._left)}" if replicates else ""
        many = "" if len(trials) == 1 else "s"
        self.say(f"training {len(replicates)} replicates in {len(trials)} trial{many}{about}")
        self._bar.update(self._task, total=self._total, rest=self._rest())

    def report(self, message: Message) -> None:
        """Show one message of a trial."""
        if self._log is not None:
            self._log.report(message)
        if isinstance(message, Aborted):
            self.say(f"error in a trial: {message.traceback or message.error}")
            return
        replicate = self._progress.by_id[message.replicate_id]
        name, now = describe(replicate), time.monotonic()
        self._latest = name
        if isinstance(message, Warned):
            self.say(f"warning: {name}: {message.text}")
        if isinstance(message, Traced):
            self.say(f"trace of {name}: {message.path}")
        if isinstance(message, Ended):
            if message.error is not None:
                self._say_once(f"{message.status}: {name}: {message.error}")
            self._count()
            self._ends.append(now)
            if self._remaining is not None:
                self._remaining.ended(message.replicate_id)
        if isinstance(message, Measured) and self._remaining is not None:
            num_steps = replicate.num_steps or 1
            self._remaining.trained(message.replicate_id, message.step / num_steps)
        self._heard = now if self._heard is None else self._heard
        if self._remaining is not None and now - self._looked >= _LOOK_SECONDS:
            self._left, self._looked = self._remaining.seconds(), now
        is_over = self._finished + self._failed == self._total
        if is_over:
            self._left = None
        self._bar.now = "comparing networks, filling MLflow" if is_over else f"training {name}"
        self._bar.update(self._task, completed=self._finished, rest=self._rest())
        if not self.live and now - self._last_line >= self._line_seconds:
            self._last_line = now
            rest = "".join(f", {part}" for part in self._parts())
            passed = duration(now - self._started)
            self.say(f"{passed}: {self._finished} of {self._total} finished{rest}, at {name}")

    def _count(self) -> None:
        counts = self._progress.counts()
        self._finished = counts[Status.finished]
        self._failed = counts[Status.failed] + counts[Status.blocked]

    def _rest(self) -> str:
        return " · ".join(self._parts())

    def _parts(self) -> Iterable[str]:
        """Failures, rate and time left, as far as they are known."""
        if self._failed:
            yield f"{self._failed} failed"
        pace = self._rate()
        if pace is not None:
            yield per_time(pace)
        if self._left is not None:
            yield f"about {duration(self._left)} left"

    def _rate(self) -> float | None:
        """Replicates that ended a second, of late; None before one has."""
        return None if self._heard is None else rate(self._ends, self._heard, time.monotonic())

    def facts(self) -> Facts:
        """The state of the run, for its page."""
        pace = self._rate()
        live = Live(
            finished=self._finished,
            total=self._total,
            seconds_passed=time.monotonic() - self._started,
            seconds_left=self._left,
            per_minute=None if pace is None else 60 * pace,
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
        """Print a line above the progress, with no password in it."""
        text = masked(text)
        if self._log is not None:
            self._log.say(text)
        self._console.print(text, markup=False, highlight=False)

    def stop(self) -> None:
        """Stop showing progress; the bar that stays says how many were finished, in how long."""
        self._count()
        self._bar.now, self._bar.interrupts = "", None
        failed = f"{self._failed} failed" if self._failed else ""
        self._bar.update(self._task, completed=self._finished, rest=failed)
        self._bar.stop()


class _Bar(Bar):
    """A bar, and a line below it that says what is training; it is cut where it is too long.

    After a signal the line says that the run is about to stop.
    """

    now = ""
    interrupts: Interrupts | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar and the line, if there is anything to say."""
        yield from super().get_renderables()
        if self.interrupts is not None and self.interrupts.requested:
            yield Text(STOPPING, style="bold yellow", overflow="fold")
        elif self.now:
            yield Text(self.now, style="dim", no_wrap=True, overflow="ellipsis")
