"""The time left of a run, at the pace of the training that it has done."""

from __future__ import annotations

import time
from collections.abc import Mapping


class Remaining:
    """Remaining training of some replicates; `costs` are expected seconds by replicate id."""

    def __init__(self, costs: Mapping[str, float]) -> None:
        self._costs = costs
        self._shares: dict[str, float] = {}
        self._left, self._trained = sum(costs.values()), 0.0
        self._started = time.monotonic()

    def trained(self, replicate_id: str, share: float) -> None:
        """Note the trained share of a replicate, 0 to 1.

        The share that is first noted does not count for the pace: an earlier run may have trained
        it.
        """
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
        """Expected seconds to the end; None before anything is trained."""
        if self._trained <= 0:
            return None
        return (time.monotonic() - self._started) * max(self._left, 0.0) / self._trained
