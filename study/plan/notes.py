"""Notes on a plan: controls that a claim would lack, and batches that no data set fills."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from study.plan.replicates import PlanRow
from trainers import controls, tasks

#: Columns in which a guided condition and its controls differ.
_OWN = ("state", "control")


def notes_on_controls(uses: Iterable[PlanRow]) -> list[str]:
    """A line for each kind of guided condition and rival that lacks a control it needs."""
    uses = list(uses)
    planned: dict[Any, dict[Any, set[int]]] = {}
    for use in uses:
        if use.condition.role == "control":
            planned.setdefault(_group(use), {}).setdefault(_control(use), set()).update(use.seeds)
    lacking: dict[tuple[str, tuple[str, ...]], int] = {}
    totals: dict[str, int] = {}
    for use in uses:
        if use.condition.role not in ("guided", "rival"):
            continue
        kind = _kind(use)
        found: dict[Any, set[int]] = planned.get(_group(use), {})
        totals[kind] = totals.get(kind, 0) + 1
        lacks = tuple(
            control
            for control in use.required_controls or ()
            if not any(
                use.seeds.keys() <= found.get((state, control), set())
                for state in (None, use.labels["state"])
            )
        )
        if lacks:
            lacking[kind, lacks] = lacking.get((kind, lacks), 0) + 1
    return [_line(kind, lacks, number, totals[kind]) for (kind, lacks), number in lacking.items()]


def notes_on_batches(uses: Iterable[PlanRow]) -> list[str]:
    """A line for each task whose training examples are fewer than a batch."""
    asked = dict.fromkeys((use.condition.task, use.condition.train.batch_size) for use in uses)
    found = [(task, size, tasks.build(task).num_train) for task, size in asked]
    return [
        f"train.batch_size: {size} is more than the {num_train} training examples of task "
        f"{task.name!r}: each step takes all of them, as with any other size above that"
        for task, size, num_train in found
        if num_train is not None and size > num_train
    ]


def _group(use: PlanRow) -> Any:
    return tuple(value for column, value in use.labels.items() if column not in _OWN)


def _control(use: PlanRow) -> Any:
    return use.labels["state"], use.labels["control"]


def _kind(use: PlanRow) -> str:
    if use.condition.rival is not None:
        return f"rival {use.condition.rival.method.name}"
    outputs = dict.fromkeys(controls.compared(term.distance) for term in use.condition.terms)
    return f"{' and '.join(outputs)} of {use.labels['state']} guides"


def _line(kind: str, lacks: tuple[str, ...], number: int, total: int) -> str:
    count = "all" if number == total else f"{number} of {total}"
    of, what = ("", "specific") if kind.startswith("rival ") else ("guided ", "guide-specific")
    return (
        f"note: {kind} ({count} {of}conditions): no control {', '.join(lacks)}; a gain there "
        f"cannot be called {what} (controls: standard has what a claim needs)"
    )
