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
        self._by_id = {replicate.id: replicate for replicate in plan.replicates}
        self.states: dict[str, State] = {}
        known = store.known()
        # Guides come first in a plan: what they block is known when it is reached.
        for replicate in plan.replicates:
            self.states[replicate.id] = self._state(replicate, begun=replicate.id in known)

    def refresh(self, replicate_id: str) -> State:
        """Read one replicate again."""
        self.states[replicate_id] = self._state(self._by_id[replicate_id], begun=True)
        return self.states[replicate_id]

    def _state(self, replicate: Replicate, *, begun: bool) -> State:
        state = self._read(replicate.id) if begun else State("missing")
        guide = replicate.requires
        if state.status == "missing" and guide and self.states[guide].status == "failed":
            return State("blocked", f"guide {guide} failed: {self.states[guide].error}")
        return state

    def forgive(self) -> None:
        """Let what failed be trained again, from its last checkpoint, and what it blocked."""
        for replicate in self.plan.replicates:
            if self.states[replicate.id].status == "failed":
                self.store.replicate(replicate.id).forgive()
            if self.states[replicate.id].status in ("failed", "blocked"):
                self.refresh(replicate.id)

    @property
    def todo(self) -> list[Replicate]:
        """Replicates to train: neither finished, nor failed, nor blocked by a failed guide."""
        return [r for r in self.plan.replicates if self.states[r.id].status == "missing"]

    def counts(self, replicates: Iterable[Replicate] | None = None) -> Counter[str]:
        """Number of replicates by status."""
        chosen = self.plan.replicates if replicates is None else replicates
        return Counter(self.states[r.id].status for r in chosen)

    def facts(self, name: str) -> dict[str, Counter[str]]:
        """By task: values of a fact in the results of finished replicates, how many have each."""
        found: dict[str, Counter[str]] = {}
        for replicate in self.plan.replicates:
            result = self.states[replicate.id].result
            if result is not None and name in result:
                task = replicate.planned.labels["task"]
                found.setdefault(task, Counter())[str(result[name])] += 1
        return found

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
