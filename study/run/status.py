"""The command `status`: the progress of a study, read from the store alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any

import typer

from analysis.contract import PLAN, SPEC, Role, Status
from analysis.hints import command
from analysis.names import check_name
from analysis.parquet_files import unknown_study
from analysis.quantities import duration
from study.errors import SpecError
from study.plan import table
from study.plan.states import States
from study.plan.table import StoredReplicate
from study.run import expected
from study.run.descriptions import describe, failure_lines, mixtures
from study.run.locations import existing_store, tracking_options
from study.run.pace import AtWork, Ended, Pace, per_time
from trainers.store import pointer
from trainers.store.folder import Folder
from trainers.store.lease import Holder, holder
from trainers.store.store import CorruptError, Store


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

    `later` are numbers of replicates that a search asks for later, `costs` the training seconds of
    replicates by id, taken or expected, as far as they are known. `since` is when the present run
    began, in seconds since 1970; None where nothing runs.
    """

    progress: States[StoredReplicate]
    running: list[Running]
    driver: Holder | None
    later: Mapping[str, int] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    since: float | None = None

    @cached_property
    def pace(self) -> Pace | None:
        """The pace of the present run; None where nothing runs."""
        if self.since is None:
            return None
        results = [state.result for state in self.progress.states.values()]
        ended = [
            Ended(at=result.ended, seconds=result.train_seconds)
            for result in results
            if result is not None and result.ended >= self.since
        ]
        at_work = [
            AtWork(
                id=each.replicate.id,
                since=each.holder.since,
                share=min(each.step / (each.num_steps or 1), 1.0),
            )
            for each in self.running
        ]
        ended.sort(key=lambda each: each.at)
        return Pace(since=self.since, now=time.time(), ended=ended, at_work=at_work)

    @property
    def per_hour(self) -> float | None:
        """Replicates that the present run finishes an hour, of late; None before one is."""
        rate = None if self.pace is None else self.pace.rate
        return None if rate is None else 3600 * rate

    @property
    def seconds_left(self) -> float | None:
        """Expected seconds to the end of the present run; None where that cannot be told."""
        todo = [replicate.id for replicate in self.progress.todo]
        if not todo and not any(self.later.values()):
            return 0.0
        if self.pace is None or not self.costs.keys() >= set(todo):
            return None
        left = {identifier: self.costs[identifier] for identifier in todo}
        return self.pace.seconds_left(left, self._later_costs())

    def _later_costs(self) -> list[float]:
        """Expected seconds of each replicate that a search asks for later: the mean of others."""
        by_kind: dict[bool, list[float]] = {True: [], False: []}
        for replicate in self.progress.listed.replicates:
            if replicate.id in self.costs:
                is_candidate = replicate.role == Role.candidate
                by_kind[is_candidate].append(self.costs[replicate.id])
        every = [*by_kind[True], *by_kind[False]]
        return [
            fmean(by_kind[kind == "candidates"] or every or [0.0])
            for kind, number in self.later.items()
            for _ in range(number)
        ]


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
    running, driver = list(_running(states)), holder(folder)
    return StudyStatus(
        states, running, driver, plan.later, expected.costs(states, expected.recall(folder)),
        _since(folder, driver, running),
    )  # fmt: skip


def _since(folder: Folder, driver: Holder | None, running: Sequence[Running]) -> float | None:
    """When the present run began, in seconds since 1970; None where nothing runs."""
    if driver is not None:
        return driver.since
    if not running:
        return None
    # Workers without a driver each write the plan when they begin.
    written = folder.modified(PLAN)
    begun = min(each.holder.since for each in running)
    return begun if written is None else min(written, begun)


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
    elif not is_complete and not status.running:
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
        lines.append(f"rate: {per_time(status.per_hour / 3600)}")
    if status.seconds_left:
        lines.append(f"time left: about {duration(status.seconds_left)}")
    warnings = [f"warning: {text}" for text in mixtures(progress)]
    options = tracking_options(progress.store)
    again = command("retry", "SPEC", *options, store=progress.store.uri)
    return lines + failure_lines(progress, again) + warnings


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
