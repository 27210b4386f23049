"""A trial's work: replicates in turn, where the failure of one is not that of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainers.condition import Condition
from trainers.loop import train
from trainers.reporting import Report
from trainers.store import CorruptError, Replicate, Store


def run_pack(
    replicates: Sequence[tuple[Condition, int]], store: str, report: Report, *, debug: bool = False
) -> None:
    """Train every (condition, seed) that the store does not hold finished or failed.

    `report` gets what `train` reports, and `{replicate_id, status, error}` when a replicate ends:
    `finished`, `failed`, or `blocked` where its trained guide is not in the store. With `debug`
    exceptions are not caught, so that a debugger stops where they were raised.
    """
    for condition, seed in replicates:
        replicate = Store(store).replicate_of(condition, seed)
        status, error = _one(condition, seed, store, replicate, report, debug=debug)
        report({"replicate_id": replicate.id, "status": status, "error": error})


def _one(
    condition: Condition,
    seed: int,
    store: str,
    replicate: Replicate,
    report: Report,
    *,
    debug: bool,
) -> tuple[str, str | None]:
    failure = replicate.failure()
    if failure is not None:
        return "failed", failure["error"]
    guide = condition.guide_condition
    if guide is not None:
        needed = Store(store).replicate_of(guide, seed)
        if needed.result() is None:
            return "blocked", f"guide {needed.id} is not finished"
    try:
        _train(condition, seed, store, replicate, report)
    except Exception as error:
        replicate.fail(error)
        if debug:
            raise
        return "failed", f"{type(error).__name__}: {error}"
    return "finished", None


def _train(
    condition: Condition, seed: int, store: str, replicate: Replicate, report: Report
) -> None:
    try:
        train(condition, seed=seed, store=store, report=report)
    except CorruptError as error:
        warning: dict[str, Any] = {"replicate_id": replicate.id, "warning": f"{error}: retrained"}
        report(warning)
        replicate.discard()
        train(condition, seed=seed, store=store, report=report)
