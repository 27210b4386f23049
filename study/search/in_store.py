"""Results of replicates, read from a store."""

from __future__ import annotations

import math
from itertools import repeat

from trainers.conditions.condition import Condition
from trainers.store.store import CorruptError, Replicate, Store


class StoreResults:
    """Results in a store; those of replicates that have finished are read once."""

    def __init__(self, store: Store) -> None:
        self._store, self._known = store, store.known()
        self._finished: dict[tuple[str, str], float] = {}

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
        except CorruptError:
            return None
        return ended

    def _failed(self, guide: Condition, seed: int) -> bool:
        stored = self._store.replicate_of(guide, seed)
        return stored.id in self._known and stored.failure() is not None

    def _last(self, stored: Replicate, metric: str) -> float | None:
        result = stored.result()
        if result is None:
            return None if stored.failure() is None else math.nan
        history = stored.history()
        points = [] if history is None else history.points
        values = [point.value for point in points if point.metric == metric]
        self._finished[stored.id, metric] = values[-1] if values else math.nan
        return self._finished[stored.id, metric]
