"""The command `status`: the progress of a study, read from the store alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import typer

from analysis.contract import PLAN, SPEC, Status
from analysis.names import check_name
from analysis.parquet_files import unknown_study
from study.errors import SpecError
from study.plan import table
from study.plan.states import States
from study.plan.table import StoredReplicate
from study.run.descriptions import describe, duration, failure_lines, mixtures
from study.run.locations import existing_store
from trainers.store import pointer
from trainers.store.lease import Holder, holder
from trainers.store.store import CorruptError, Store

#: Replicates that ended within so many seconds before the last one count for the rate.
_RATE_SECONDS = 3600.0


@dataclass(frozen=True)
class Running:
    """A replicate that a process trains now, with a checkpoint at `step` of `num_steps`."""

    replicate: StoredReplicate
    holder: Holder
    step: int
    num_steps: int


@dataclass(frozen=True)
class StudyStatus:
    """A study at a moment; `driver` is the process that runs it, or None.

    `later` are numbers of replicates that a search asks for later.
    """

    progress: States[StoredReplicate]
    running: list[Running]
    driver: Holder | None
    later: Mapping[str, int] = field(default_factory=dict)

    @property
    def per_hour(self) -> float | None:
        """Replicates finished an hour, by those of the last hour; None with fewer than two."""
        times: list[float] = sorted(
            state.result.ended
            for state in self.progress.states.values()
            if state.result is not None
        )
        recent = [moment for moment in times if times[-1] - moment <= _RATE_SECONDS]
        if len(recent) < 2 or recent[-1] == recent[0]:
            return None
        return (len(recent) - 1) / (recent[-1] - recent[0]) * 3600

    @property
    def seconds_left(self) -> float | None:
        """Expected seconds to the end at the present rate; None without a driver or a rate."""
        missing = self.progress.counts()[Status.missing] + sum(self.later.values())
        if not missing:
            return 0.0
        if self.driver is None or self.per_hour is None:
            return None
        return missing / self.per_hour * 3600


def load(study: str, store: Store) -> StudyStatus:
    """The status of a study in the store; raises SpecError when there is no such study."""
    check_name(study)
    folder = store.root / "studies" / study
    if not folder.exists(SPEC):
        raise unknown_study(study, store.uri)
    plan = table.read(study, store)
    if plan is None:
        raise SpecError(
            f"study {study!r}: {folder.uri} has no {PLAN}: archprior run SPEC writes it, and "
            "trains nothing that is finished"
        )
    states = States(plan, store)
    return StudyStatus(states, list(_running(states)), holder(folder), plan.later)


def show(study: str, store: str, *, as_json: bool) -> None:
    """Print the status of a study."""
    status = load(study, existing_store(store))
    if as_json:
        typer.echo(json.dumps(_content(status), indent=1))
        return
    for line in lines(status):
        typer.echo(line)


def _running(progress: States[StoredReplicate]) -> Iterable[Running]:
    began = progress.store.surveyed({replicate.id for replicate in progress.todo})
    for replicate in progress.todo:
        stored = began.get(replicate.id)
        if stored is None:
            continue
        at_work = holder(stored.folder)
        if at_work is None:
            continue
        try:
            step = pointer.saved_step(stored)
        except CorruptError:
            step = 0
        yield Running(replicate, at_work, step, replicate.num_steps)


def lines(status: StudyStatus) -> list[str]:
    """Lines that describe the status of a study, and what went wrong."""
    progress = status.progress
    counts = progress.counts()
    waiting = counts[Status.missing] - len(status.running)
    states = {
        "finished": counts[Status.finished],
        "running": len(status.running),
        "to train": waiting,
        "failed": counts[Status.failed],
        "blocked": counts[Status.blocked],
    }
    shown = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    later = status.later
    is_complete = counts[Status.finished] == len(progress.listed) and not any(later.values())
    line = f"study {progress.listed.name}: {len(progress.listed)} replicates: {shown}"
    if status.driver is not None:
        line += f"; run by {status.driver}"
    elif not is_complete:
        line += "; nobody runs it now"
    lines = [line]
    if any(later.values()):
        lines.append(
            f"search: {later['candidates']} candidates and then {later['winners']} replicates with "
            "the settings that win are not planned yet"
        )
    lines += [
        f"running: {describe(each.replicate)}: step {each.step} of {each.num_steps}, "
        f"by {each.holder}, since {duration(time.time() - each.holder.since)}"
        for each in status.running
    ]
    if status.per_hour is not None and not is_complete:
        lines.append(f"rate: {status.per_hour:.3g} replicates an hour")
    if status.seconds_left:
        lines.append(f"time left: about {duration(status.seconds_left)}")
    warnings = [f"warning: {text}" for text in mixtures(progress)]
    return lines + failure_lines(progress) + warnings


def _content(status: StudyStatus) -> dict[str, Any]:
    progress = status.progress
    return {
        "study": progress.listed.name,
        "counts": progress.counts(),
        "later": dict(status.later),
        "driver": None if status.driver is None else status.driver._asdict(),
        "running": [
            {"replicate_id": r.replicate.id, "step": r.step, "num_steps": r.num_steps}
            | {"host": r.holder.host, "pid": r.holder.pid, "since": r.holder.since}
            for r in status.running
        ],
        "replicates_per_hour": status.per_hour,
        "seconds_left": status.seconds_left,
        "failures": progress.failures(),
    }
