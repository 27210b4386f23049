"""How long the rest of a run will take, at the pace of what it has trained."""

from __future__ import annotations

import time
from collections.abc import Mapping


class Remaining:
    """The rest of the training of some replicates; `costs` by id say how much of it each is."""

    def __init__(self, costs: Mapping[str, float]) -> None:
        self._costs = costs
        self._shares: dict[str, float] = {}
        self._left, self._trained = sum(costs.values()), 0.0
        self._started = time.monotonic()

    def trained(self, replicate_id: str, share: float) -> None:
        """Note which share of a replicate is trained; that of the first time is not this run's."""
        cost = self._costs.get(replicate_id, 0.0)
        before = self._shares.get(replicate_id, share)
        self._trained += cost * (share - before)
        self._left -= cost * (share - self._shares.get(replicate_id, 0.0))
        self._shares[replicate_id] = share

    def ended(self, replicate_id: str) -> None:
        """Note that a replicate trains no more, however it ended."""
        cost = self._costs.get(replicate_id, 0.0)
        self._left -= cost * (1 - self._shares.get(replicate_id, 0.0))
        self._shares[replicate_id] = 1.0

    def seconds(self) -> float | None:
        """Seconds that the rest will take; None before anything is trained."""
        if self._trained <= 0:
            return None
        return (time.monotonic() - self._started) * max(self._left, 0.0) / self._trained
