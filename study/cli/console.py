"""Output of commands: the plan in words, and a console for tables."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table

from analysis.contract import Role, Status
from analysis.hints import command
from analysis.names import DEFAULT_STORE
from analysis.quantities import duration
from study.run.descriptions import absent_lines, shown

if TYPE_CHECKING:
    from study.plan.build import Plan
    from study.plan.cost import Counted, Estimate
    from study.plan.progress import Progress

_PLAIN_WIDTH = 150
#: Fewest columns of text that is indented.
_LEAST_WIDTH = 20
#: More columns than any table has.
_WIDEST = 10_000
_PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")


def plan_lines(
    progress: Progress,
    estimate: Estimate,
    num_trials: int,
    *,
    spec: str = "SPEC",
    store: str = DEFAULT_STORE,
) -> list[str]:
    """Lines that describe a plan of a `spec` against a `store`: states, trials, expected cost."""
    plan = progress.plan
    return [
        f"study {plan.name}: {len(plan.conditions)} conditions, {len(plan)} replicates",
        f"replicates: {shown(progress.counts())}",
        _guides_line(progress),
        f"trials on this machine: {num_trials}",
        *_search_lines(plan),
        f"expected training time: {_expected(estimate)} on one worker",
        *_matched_lines(progress, estimate),
        *_counted_lines(estimate, plan.resources.gpus, spec, store),
        *absent_lines(plan),
        *_missing_starts(progress),
        *plan.notes(),
    ]


def _missing_starts(progress: Progress) -> list[str]:
    """Lines about replicates whose weights others are to start from, and that are not finished."""
    rivals = (replicate.condition.rival for replicate in progress.todo)
    weights = (rival.weights for rival in rivals if rival is not None)
    starts = {each.replicate_id for each in weights if each is not None and each.replicate_id}
    return [
        f"warning: weights of replicate {start}: the store has none that is finished, and a run "
        "is refused until it has"
        for start in sorted(starts)
        if progress.store.replicate(start).result() is None
    ]


def _matched_lines(progress: Progress, estimate: Estimate) -> list[str]:
    """A line about the baselines that are there for their equal compute alone, if any."""
    found = [r for r in progress.plan.replicates if r.planned.use.is_matched]
    if not found:
        return []
    todo = [r.id for r in progress.todo if r.planned.use.is_matched]
    seconds = sum(estimate.seconds[identifier] for identifier in todo)
    conditions = len({r.planned for r in found})
    return [
        f"baselines at equal compute: {conditions} conditions, {len(found)} replicates, "
        f"{duration(seconds)} of that time"
    ]


def _search_lines(plan: Plan) -> list[str]:
    """Lines about the search: its budget, and what it will ask for."""
    candidates = [r for r in plan.replicates if r.role == Role.candidate]
    if not candidates:
        return []
    later = plan.later
    lines = [
        f"search: {count} arms of {budget} trials at {seeds} tuning seeds"
        for (budget, seeds), count in plan.budgets().items()
    ]
    then = f", then {later.num_candidates} more, batch after batch" if later.num_candidates else ""
    lines.append(f"candidates and their guides: {len(candidates)} known{then}")
    if later.num_winners:
        lines.append(f"replicates with the settings that win: {later.num_winners}, known after it")
    return lines


def _expected(estimate: Estimate) -> str:
    if not estimate.later_seconds:
        return duration(estimate.todo_seconds)
    whole = duration(estimate.todo_seconds + estimate.later_seconds)
    return f"{whole} ({duration(estimate.todo_seconds)} of it for what is known)"


def _counted_lines(estimate: Estimate, gpus: float, spec: str, store: str) -> list[str]:
    """Lines about the part of the expected time that was counted, not measured."""
    lines = []
    counted = estimate.counted
    if counted.num_replicates:
        hours = counted.seconds * gpus / 3600
        gpu_hours = f"{hours:,.{1 if hours < 10 else 0}f} GPU-hours"
        lines.append(
            f"arithmetic of {counted.num_replicates} replicates: {quantity(counted.flops)}FLOP; at "
            f"{_rate(counted, gpus)}: "
            f"{gpu_hours if gpus else duration(counted.seconds)} (a rough estimate from shapes; "
            f"{command('plan', spec, '--measure', store=store)} times a few steps where data and "
            "devices are here)"
        )
    if estimate.num_unknown:
        lines.append(
            f"no estimate of {estimate.num_unknown} replicates: their networks do not run "
            f"({command('validate', spec)} says why)"
        )
    return lines


def _rate(counted: Counted, gpus: float) -> str:
    """The rate of counted operations: as assumed, or as it came out with what starts them."""
    from study.plan.cost import CALL_SECONDS, CPU_FLOPS_PER_SECOND, GPU_FLOPS_PER_SECOND

    of = "a GPU" if gpus else "a worker"
    if counted.assumed:
        flops = GPU_FLOPS_PER_SECOND if gpus else CPU_FLOPS_PER_SECOND
        start = f"{CALL_SECONDS * 1e6:g} µs to start each operator"
        return f"an assumed {quantity(flops)}FLOP/s {of} and {start}"
    return f"{quantity(counted.flops_per_second / (gpus or 1))}FLOP/s {of}, as others took"


def _guides_line(progress: Progress) -> str:
    guides = [r for r in progress.plan.replicates if r.role == Role.guide]
    pretrained = [r for r in guides if r.condition.weights is not None]
    done = progress.counts(guides)[Status.finished]
    evaluate = len(pretrained) - progress.counts(pretrained)[Status.finished]
    counts = {"done": done, "to train": len(guides) - done - evaluate}
    if pretrained:
        # Pretrained guides are evaluated, not trained: only counts above 0 are printed.
        every = counts | {"to evaluate": evaluate}
        counts = {state: count for state, count in every.items() if count}
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"{len(guides)} guide{'' if len(guides) == 1 else 's'}: {states}"


def quantity(number: float) -> str:
    """A number with two digits or more and the SI prefix of its size: `3.1 E`, `50 T`."""
    power = min(max(int(math.log10(number)) // 3, 0), len(_PREFIXES) - 1) if number > 0 else 0
    scaled = number / 1000**power
    return f"{scaled:.1f} {_PREFIXES[power]}" if scaled < 10 else f"{scaled:.0f} {_PREFIXES[power]}"


def whole_width(console: Console, table: Table) -> int:
    """Columns of a table of which nothing is cut or wrapped."""
    return console.measure(table, options=console.options.update(width=_WIDEST)).maximum


def print_whole(console: Console, table: Table) -> None:
    """Print a table of which nothing is cut, however wide the console is."""
    before, console.width = console.width, max(whole_width(console, table), console.width)
    console.print(table, soft_wrap=not console.is_terminal)
    console.width = before


def say(text: str, *, indent: int = 0) -> None:
    """Print a line: on a terminal wrapped at words, what follows below its begin by `indent`.

    Elsewhere it stays one line, for programs. Words that are longer than a line are left whole.
    """
    console = Console()
    lines = [text]
    if console.is_terminal:
        lines = textwrap.wrap(
            text,
            max(console.width, indent + _LEAST_WIDTH),
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    for line in lines or [""]:
        typer.echo(line)


def is_narrower_than(width: int) -> bool:
    """Whether output goes to a terminal with fewer columns than `width`."""
    console = Console()
    return console.is_terminal and console.width < width


def wide_console(plain_width: int = _PLAIN_WIDTH) -> Console:
    """A console for tables, `plain_width` wide where it is not a terminal."""
    console = Console(soft_wrap=True)
    return console if console.is_terminal else Console(width=plain_width)
