"""What a store holds of a plan: which replicates are finished, failed or still to train."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from study.plan import Plan, Replicate
from trainers.store import CorruptError, Store


@dataclass(frozen=True)
class State:
    """One replicate's state in a store: `finished`, `failed`, `blocked` or `missing`."""

    status: str
    error: str | None = None
    result: dict[str, Any] | None = None


class Progress:
    """The state of every replicate of a plan, read from the store alone."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self.plan, self.store = plan, store
        known = store.known()
        self.states = {
            r.id: self._read(r.id) if r.id in known else State("missing") for r in plan.replicates
        }
        for replicate in plan.replicates:
            needed = replicate.requires
            missing = self.states[replicate.id].status == "missing"
            if missing and needed is not None and self.states[needed].status == "failed":
                error = f"guide {needed} failed: {self.states[needed].error}"
                self.states[replicate.id] = State("blocked", error)

    def refresh(self, replicate_id: str) -> State:
        """Read one replicate again."""
        self.states[replicate_id] = self._read(replicate_id)
        return self.states[replicate_id]

    @property
    def todo(self) -> list[Replicate]:
        """Replicates to train: neither finished, nor failed, nor blocked by a failed guide."""
        return [r for r in self.plan.replicates if self.states[r.id].status == "missing"]

    def counts(self, replicates: Iterable[Replicate] | None = None) -> Counter[str]:
        """Number of replicates by status."""
        chosen = self.plan.replicates if replicates is None else replicates
        return Counter(self.states[r.id].status for r in chosen)

    def failures(self) -> dict[str, str]:
        """Failed and blocked replicates with their cause."""
        return {
            identifier: state.error or "unknown cause"
            for identifier, state in self.states.items()
            if state.status in ("failed", "blocked")
        }

    def _read(self, replicate_id: str) -> State:
        replicate = self.store.replicate(replicate_id)
        try:
            result = replicate.result()
            if result is not None:
                return State("finished", result=result)
            failure = replicate.failure()
        except CorruptError:
            # It is trained again, and the trial that does so says why.
            return State("missing")
        return State("missing") if failure is None else State("failed", failure["error"])
