"""Texts that describe a study's replicates and their states to a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from analysis.contract import Role, Status

if TYPE_CHECKING:
    from study.plan.build import Plan
    from study.plan.progress import Progress
    from study.plan.replicates import Listed
    from study.plan.states import States


def failure_lines(progress: States[Any], again: str | None) -> list[str]:
    """Lines for each failed replicate: its cause, and how many replicates it blocks.

    Candidates of a search are counted: bad settings are part of it. The last line names the command
    that trains them `again`, if there is one.
    """
    plan = {replicate.id: replicate for replicate in progress.listed.replicates}
    blocked = Counter(
        guide
        for identifier, state in progress.states.items()
        if state.status == Status.blocked
        for guide in plan[identifier].requires
    )
    lines, failed = [], Counter[str]()
    for identifier, state in progress.states.items():
        if state.status == Status.failed:
            failed[plan[identifier].role] += 1
            if plan[identifier].role == Role.candidate:
                continue
            lines.append(f"failed: {describe(plan[identifier])} ({identifier}): {state.error}")
            if blocked[identifier]:
                lines.append(f"    blocks {blocked[identifier]} replicates that it should guide")
    if failed[Role.candidate]:
        lines.append(
            f"{failed[Role.candidate]} candidates of the search failed: they are its worst"
        )
    if failed and again is not None:
        lines.append(f"{again} trains failed and blocked replicates again")
    return lines


_FACTS = {"torch_version": "torch versions", "device": "devices", "data_fingerprint": "data sets"}


def mixtures(progress: States[Any]) -> list[str]:
    """Warnings where finished replicates of a task differ in torch version, device or data."""
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
    if labels["guide"] is None and labels["treatment"] is not None:
        control = "" if labels["control"] == "none" else f" {labels['control']}"
        return f"{labels['target']}, {labels['treatment']}{control}, seed {replicate.seed}"
    if labels["guide"] is None:
        role = "" if replicate.role == Role.baseline else f"{replicate.role} "
        return f"{role}{labels['target']} on {labels['task']}, seed {replicate.seed}"
    shown = (labels["guide"], labels["state"], labels["control"], labels["schedule"])
    guide = " ".join(part for part in shown if part not in (None, "none"))
    role = f"{Role.candidate} " if replicate.role == Role.candidate else ""
    return f"{role}{labels['target']} <- {guide}, seed {replicate.seed}"


def absent_lines(plan: Plan) -> list[str]:
    """Lines for each task whose data is not on this machine, so that ids are provisional."""
    lines = []
    for label, task in plan.absent().items():
        places = ", ".join(map(str, task.data_places()))
        lines.append(f"data of {label} is not here (looked in {places}): ids are provisional")
    return lines


def shown(counts: Mapping[str, int]) -> str:
    """Numbers of replicates by status: `3 done, 2 to train`."""
    words = {"finished": "done", "missing": "to train", "failed": "failed", "blocked": "blocked"}
    return ", ".join(f"{counts.get(key, 0)} {word}" for key, word in words.items() if key in counts)


def how_far(progress: Progress) -> tuple[str, str]:
    """How far an interrupted run came, and what the next one does."""
    finished, total = progress.counts()[Status.finished], len(progress.plan)
    message = f"interrupted: {finished} of {total} replicates are finished"
    todo = {replicate.id for replicate in progress.todo}
    if not todo:
        return message, "makes the comparisons and tables"
    if finished or progress.store.surveyed(todo):
        return message, "goes on from the last checkpoints"
    return f"interrupted: nothing is saved yet of {total} replicates", "starts them"
