"""Results of replicates, read from a store."""

from __future__ import annotations

import math
import warnings
from contextlib import suppress
from itertools import repeat

from trainers.conditions.condition import Condition
from trainers.store.lease import Lease, LeasedError
from trainers.store.store import HISTORY, CorruptError, Replicate, Store


class StoreResults:
    """Results in a store; those of replicates that have finished are read once."""

    def __init__(self, store: Store) -> None:
        self._store, self._known = store, store.known()
        self._finished: dict[tuple[str, str], float] = {}
        self._damaged: dict[str, CorruptError] = {}

    def look(self) -> StoreResults:
        """Notice replicates that have begun since; returns itself."""
        self._known = self._store.known()
        return self

    def value(self, condition: Condition, seed: int, metric: str) -> float | None:
        """The metric at the last step; None before the replicate has ended, nan if it failed.

        One that is blocked by its failed guide has failed, and a damaged one is trained again.
        """
        stored = self._store.replicate_of(condition, seed)
        if (stored.id, metric) in self._finished:
            return self._finished[stored.id, metric]
        try:
            ended = self._last(stored, metric) if stored.id in self._known else None
            if ended is None and any(map(self._failed, condition.guide_conditions, repeat(seed))):
                ended = math.nan
        except CorruptError as error:
            self._damaged[error.replicate_id] = error
            return None
        return ended

    def discard_damaged(self) -> None:
        """Discard replicates whose files were found to be damaged, so that they train again.

        Without this a search would wait for ever for one that has finished without a history.
        """
        damaged, self._damaged = self._damaged, {}
        for identifier, error in damaged.items():
            stored = self._store.replicate(identifier)
            # Who holds the lease trains it anew already.
            with suppress(LeasedError), Lease(stored.folder):
                warnings.warn(f"{error}: retrained", stacklevel=2)
                stored.discard()

    def _failed(self, guide: Condition, seed: int) -> bool:
        stored = self._store.replicate_of(guide, seed)
        return stored.id in self._known and stored.failure() is not None

    def _last(self, stored: Replicate, metric: str) -> float | None:
        result = stored.result()
        if result is None:
            return None if stored.failure() is None else math.nan
        history = stored.history()
        if history is None:
            raise stored.corrupt(f"{HISTORY} is missing")
        values = [point.value for point in history.points if point.metric == metric]
        self._finished[stored.id, metric] = values[-1] if values else math.nan
        return self._finished[stored.id, metric]
