"""What a person sees: live progress on a terminal, plain lines elsewhere, and the matrix."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich import box
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
from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from study.cost import Estimate
    from study.plan import Listed, Plan
    from study.progress import Progress, States

_LINE_SECONDS = 15.0
_PLAIN_WIDTH = 150
_PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")
_LEGEND = """Means over n seeds; differences are guided minus unguided by seed, positive is better.
Intervals are Student t over seeds, given one data set."""


class Monitor:
    """Follows a run: what is finished, what failed and why, at once.

    On a terminal there is a bar, where `live`; otherwise a line from time to time.
    """

    def __init__(self, progress: Progress, *, live: bool = True) -> None:
        self._progress = progress
        self._console = Console(soft_wrap=True)
        self._live = live and self._console.is_terminal
        self._names = {r.id: describe(r) for r in progress.plan.replicates}
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._live,
        )
        self._task = self._bar.add_task("starting", total=len(progress.plan))
        self._started = self._last_line = time.monotonic()
        self._finished = 0
        self._said: set[str] = set()

    def start(self) -> None:
        """Begin to show progress."""
        counts = self._progress.counts()
        total = len(self._progress.plan)
        self.say(f"{self._progress.plan.name}: {total} replicates, {_shown(counts)}")
        self._finished = counts["finished"]
        self._bar.start()
        self._bar.update(self._task, completed=self._finished)

    def begin(self, estimate: Estimate, num_trials: int) -> None:
        """Say what is about to train."""
        self.say(
            f"training {len(self._progress.todo)} replicates in {num_trials} trials, "
            f"expected {duration(estimate.todo_seconds)} of training"
        )
        self._bar.update(self._task, description="training")

    def report(self, payload: Mapping[str, Any]) -> None:
        """Show one report of a trial."""
        if "fatal" in payload:
            self.say(f"error in a trial: {payload['traceback']}")
            return
        name = self._names[payload["replicate_id"]]
        if payload.get("warning"):
            self.say(f"warning: {name}: {payload['warning']}")
        if payload.get("status") in ("failed", "blocked"):
            self._say_once(f"{payload['status']}: {name}: {payload['error']}")
        if "status" in payload:
            self._finished = self._progress.counts()["finished"]
        self._bar.update(self._task, completed=self._finished, description=f"training {name}")
        now = time.monotonic()
        if not self._live and now - self._last_line >= _LINE_SECONDS:
            self._last_line = now
            total = len(self._progress.plan)
            passed = duration(now - self._started)
            self.say(f"{passed}: {self._finished} of {total} finished, at {name}")

    def warn_of_mixtures(self) -> None:
        """Say so when the replicates of the study are not from one torch version and device."""
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


def failure_lines(progress: States[Any]) -> list[str]:
    """What failed and why, and how many replicates each failed guide blocks."""
    plan = {replicate.id: replicate for replicate in progress.listed.replicates}
    blocked = Counter(
        plan[identifier].requires
        for identifier, state in progress.states.items()
        if state.status == "blocked"
    )
    lines = []
    for identifier, state in progress.states.items():
        if state.status == "failed":
            lines.append(f"failed: {describe(plan[identifier])} ({identifier}): {state.error}")
            if blocked[identifier]:
                lines.append(f"    blocks {blocked[identifier]} replicates that it should guide")
    if lines:
        lines.append("archprior retry trains failed and blocked replicates again")
    return lines


_FACTS = {"torch_version": "torch versions", "device": "devices", "data_fingerprint": "data sets"}


def mixtures(progress: States[Any]) -> list[str]:
    """What the finished replicates of a task differ in though they should not."""
    texts = []
    for fact, name in _FACTS.items():
        for task, counts in progress.facts(fact).items():
            if len(counts) > 1:
                shown = ", ".join(f"{value} ({count})" for value, count in counts.most_common())
                texts.append(
                    f"{task}: replicates of {len(counts)} {name}: {shown}; paired differences "
                    "between them also hold what these differ in"
                )
    return texts


def describe(replicate: Listed) -> str:
    """A replicate in words: `fcn(norm=batch) <- resnet2d untrained shuffled, seed 3`."""
    labels = replicate.labels
    if not replicate.num_steps:
        return f"guide {labels['target']} on {labels['task']}"
    if labels["guide"] is None:
        role = "guide " if replicate.role == "guide" else ""
        return f"{role}{labels['target']} on {labels['task']}, seed {replicate.seed}"
    shown = (labels["guide"], labels["state"], labels["control"], labels["schedule"])
    guide = " ".join(part for part in shown if part not in (None, "none"))
    return f"{labels['target']} <- {guide}, seed {replicate.seed}"


def plan_lines(progress: Progress, estimate: Estimate, num_trials: int) -> list[str]:
    """The plan in words."""
    plan = progress.plan
    return [
        f"study {plan.name}: {len(plan.conditions)} conditions, {len(plan)} replicates",
        f"replicates: {_shown(progress.counts())}",
        _guides_line(progress),
        f"trials on this machine: {num_trials}",
        f"expected training time: {duration(estimate.todo_seconds)} on one worker",
        *_counted_lines(estimate, on_gpus=plan.resources.gpus > 0),
        *absent_lines(plan),
    ]


def _counted_lines(estimate: Estimate, *, on_gpus: bool) -> list[str]:
    """Where the expected time is no measurement: what it is, and how it was made."""
    lines = []
    counted = estimate.counted
    if counted.num_replicates:
        work = f"arithmetic of {counted.num_replicates} replicates: {quantity(counted.flops)}FLOP"
        if on_gpus:
            from study.cost import GPU_FLOPS_PER_SECOND

            hours = counted.flops / GPU_FLOPS_PER_SECOND / 3600
            lines.append(
                f"{work}; at an assumed {quantity(GPU_FLOPS_PER_SECOND)}FLOP/s a GPU: "
                f"{hours:,.{1 if hours < 10 else 0}f} GPU-hours (an estimate from shapes, nothing "
                "was timed)"
            )
        else:
            lines.append(
                f"{work}; at the pace of one thread here: {duration(counted.seconds)} (a rough "
                "estimate from shapes; archprior plan --measure times a few steps)"
            )
    if estimate.num_unknown:
        lines.append(f"no estimate of {estimate.num_unknown} replicates: shapes need values there")
    return lines


def absent_lines(plan: Plan) -> list[str]:
    """What is not certain because data is not here."""
    lines = []
    for label, task in plan.absent().items():
        places = ", ".join(map(str, task.data_places()))
        lines.append(f"data of {label} is not here (looked in {places}): ids are provisional")
    return lines


def _guides_line(progress: Progress) -> str:
    guides = [r for r in progress.plan.replicates if r.condition.role == "guide"]
    pretrained = [r for r in guides if r.condition.weights is not None]
    done = progress.counts(guides)["finished"]
    evaluate = len(pretrained) - progress.counts(pretrained)["finished"]
    counts = {"done": done, "to train": len(guides) - done - evaluate}
    if pretrained:
        # Of what there is none, nothing is said: such guides are not trained.
        every = counts | {"to evaluate": evaluate}
        counts = {what: count for what, count in every.items() if count}
    shown = ", ".join(f"{count} {what}" for what, count in counts.items())
    return f"{len(guides)} guide{'' if len(guides) == 1 else 's'}: {shown}"


def quantity(number: float) -> str:
    """A number with two digits or more and the prefix of its size: `3.1 E`, `50 T`."""
    power = min(max(int(math.log10(number)) // 3, 0), len(_PREFIXES) - 1) if number > 0 else 0
    scaled = number / 1000**power
    return f"{scaled:.1f} {_PREFIXES[power]}" if scaled < 10 else f"{scaled:.0f} {_PREFIXES[power]}"


def wide_console() -> Console:
    """A console for tables, as wide as they need where it is not a terminal."""
    console = Console(soft_wrap=True)
    return console if console.is_terminal else Console(width=_PLAIN_WIDTH)


def print_matrix(transfer: pd.DataFrame, headlines: Mapping[str, str]) -> None:
    """Print the transfer matrix on headline metrics: a table for each target, guide, distance."""
    console = wide_console()
    for task, metric in headlines.items():
        chosen = transfer[(transfer["task"] == task) & (transfer["metric"] == metric)]
        axes = ["target", "guide", "distance", "mapping"]
        for (target, guide, distance, mapping), rows in chosen.groupby(axes, sort=False):
            title = f"{task}: {target} <- {guide}, {distance}, {mapping}  (test {metric})"
            console.print(title, _matrix(rows), sep="\n", markup=False, highlight=False)
    console.print(_LEGEND, markup=False, highlight=False)


def _matrix(rows: pd.DataFrame) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("guide is", "schedule"):
        table.add_column(column, no_wrap=True)
    columns = ("n", "unguided", "guided", "shuffled", "input", "difference", "95% interval")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict")
    for record in rows.to_dict("records"):
        table.add_row(*_cells({str(key): value for key, value in record.items()}))
    return table


def _cells(row: Mapping[str, Any]) -> list[str]:
    named = [row["state"], None if row["control"] == "none" else row["control"]]
    guide = ", ".join(str(part) for part in named if _present(part))
    levels = [_number(row[k], ".3f") for k in ("baseline", "guided", "shuffled", "input")]
    interval = "-"
    if _present(row["difference_low"]):
        interval = f"{row['difference_low']:+.3f} .. {row['difference_high']:+.3f}"
    numbers = [str(row["n"]), *levels, _number(row["difference"], "+.3f"), interval]
    return [guide, row["schedule"], *numbers, row["verdict"]]


def _number(value: Any, form: str) -> str:
    return format(value, form) if _present(value) else "-"


def _present(value: Any) -> bool:
    import pandas as pd

    return bool(pd.notna(value))


def _shown(counts: Mapping[str, int]) -> str:
    words = {"finished": "done", "missing": "to train", "failed": "failed", "blocked": "blocked"}
    return ", ".join(f"{counts.get(key, 0)} {word}" for key, word in words.items() if key in counts)


def duration(seconds: float) -> str:
    """Seconds as a person writes them: `45 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
