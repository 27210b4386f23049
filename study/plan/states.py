"""States of a plan's replicates in a store: finished, failed, blocked or still to train."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from analysis.contract import Status, blocked_by
from trainers.store.lease import Lease, LeasedError
from trainers.store.records import ResultRecord
from trainers.store.store import CorruptError, Store
from trainers.store.store import Replicate as StoredReplicate

if TYPE_CHECKING:
    from study.plan.replicates import Listed

R = TypeVar("R", bound="Listed")
R_co = TypeVar("R_co", bound="Listed", covariant=True)


@dataclass(frozen=True)
class State:
    """One replicate's state in a store."""

    status: Status
    error: str | None = None
    result: ResultRecord | None = None


class ListedPlan(Protocol[R_co]):
    """A plan, or one that was read from a store: a name and its replicates."""

    @property
    def name(self) -> str:
        """The study's name."""

    @property
    def replicates(self) -> Sequence[R_co]:
        """Every replicate of the study, guides first."""

    @property
    def drawn_tasks(self) -> Collection[str]:
        """Labels of tasks whose data each seed draws."""

    def __len__(self) -> int: ...


class States(Generic[R]):
    """The state of every replicate that a plan lists, read from the store alone."""

    def __init__(self, plan: ListedPlan[R], store: Store) -> None:
        self.store = store
        self.states: dict[str, State] = {}
        self._changing = threading.Lock()
        self._list(plan)

    def _list(self, plan: ListedPlan[R]) -> None:
        """List the replicates of a plan, with their states; those that have finished stay so."""
        by_id = {replicate.id: replicate for replicate in plan.replicates}
        before = dict(self.states)
        began = self.store.surveyed(
            {n for n in by_id if n not in before or before[n].result is None}
        )
        with self._changing:
            states = dict[str, State]()
            # Guides come first in a plan, so that a replicate's guide has its state before it does.
            for replicate in plan.replicates:
                state = self.states.get(replicate.id)
                # One that another thread read again since is newer than the listing.
                known = state is not None and state is not before.get(replicate.id)
                if state is None or (state.result is None and not known):
                    state = self._state(replicate, states, began.get(replicate.id))
                states[replicate.id] = state
            # Another thread reads meanwhile: whatever is listed has its state, and whatever has a
            # state is known by its id.
            self.by_id = by_id
            self.states = states
            self.listed = plan

    def refresh(self, replicate_id: str) -> State:
        """Read the state of one replicate again."""
        replicate = self.by_id[replicate_id]
        stored = self.store.replicate(replicate_id)
        with self._changing:
            state = self._state(replicate, self.states, stored)
            self.states[replicate_id] = state
        return state

    def _state(
        self, replicate: R, states: Mapping[str, State], stored: StoredReplicate | None
    ) -> State:
        state = State(Status.missing) if stored is None else _read(stored)
        if state.status != Status.missing:
            return state
        for guide in sorted(replicate.requires):
            if states[guide].status == Status.failed:
                cause = states[guide].error or "unknown cause"
                return State(Status.blocked, blocked_by(guide, cause))
        return state

    def discard(self, replicate_id: str) -> None:
        """Remove the files of a replicate that is damaged, so that the next run trains it anew."""
        stored = self.store.replicate(replicate_id)
        # Who holds the lease trains it anew already.
        with suppress(LeasedError), Lease(stored.folder):
            stored.discard()
        self.refresh(replicate_id)

    def forgive(self) -> None:
        """Let failed replicates, and those they block, train again from the last checkpoint."""
        for replicate in self.listed.replicates:
            if self.states[replicate.id].status == Status.failed:
                self.store.replicate(replicate.id).forgive()
            if self.states[replicate.id].status in (Status.failed, Status.blocked):
                self.refresh(replicate.id)

    @property
    def todo(self) -> list[R]:
        """Replicates to train: neither finished, nor failed, nor blocked by a failed guide."""
        return [r for r in self.listed.replicates if self.states[r.id].status == Status.missing]

    def counts(self, replicates: Iterable[R] | None = None) -> Counter[str]:
        """Number of replicates by status, of all or of those given."""
        chosen = self.listed.replicates if replicates is None else replicates
        return Counter(self.states[r.id].status for r in chosen)

    def facts(self, name: str) -> dict[str, Counter[str]]:
        """Number of finished replicates by the value of a field of their result, for each task.

        For each seed of a task where that draws its data, and the field is of data.
        """
        by_seed = self.listed.drawn_tasks if name == "data_fingerprint" else frozenset()
        found: dict[str, Counter[str]] = {}
        for replicate in self.listed.replicates:
            result = self.states[replicate.id].result
            if result is not None:
                task = replicate.labels["task"]
                if task in by_seed:
                    task = f"{task}, seed {replicate.seed}"
                found.setdefault(task, Counter())[str(getattr(result, name))] += 1
        return found

    def failures(self) -> dict[str, str]:
        """Causes of failed and blocked replicates, by id."""
        return {
            identifier: state.error or "unknown cause"
            for identifier, state in self.states.items()
            if state.status in (Status.failed, Status.blocked)
        }


def _read(stored: StoredReplicate) -> State:
    """State of one replicate that ever began; guides do not count."""
    try:
        result = stored.result()
        if result is not None:
            return State(Status.finished, result=result)
        failure = stored.failure()
    except CorruptError:
        # It is trained again, and the trial that does so says why.
        return State(Status.missing)
    return State(Status.missing) if failure is None else State(Status.failed, failure.error)
