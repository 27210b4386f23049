"""The guides that the replicates of a trial share: their features are computed once.

Several workers of a trial must hold the same guides with the same cached features: a worker that
has to run a guide waits for the others' shards, and workers with cached features would not send
them. While replicates succeed, the pools of all workers get the same requests, and so agree. A
replicate that fails may have progressed further on one worker than on another. The leader therefore
numbers its pools, takes a new one after an attempt that did not complete, and sends the number with
its orders.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from trainers.conditions.guidance import Guide
from trainers.guides.frozen import FrozenGuide
from trainers.registry import Component, Entry
from trainers.runtime.precision import Precision

#: Most guides in a pool, unless one replicate has more: a guide with its features is large, and a
#: trial uses its guides in turn.
MAX_GUIDES = 2


class GuideKey(NamedTuple):
    """Key of a guide in a pool: everything that decides its features on one machine.

    `data_seed` is that of the task's data, if each seed has its own. `entries` are the registered
    architecture and task, which change when a name is registered again; `store` is the URI from
    which a trained guide is loaded, if any. `threads` and `precision` decide the last bits; `taps`
    as in `FrozenGuide`.
    """

    task: Component
    guide: Guide
    seed: int
    data_seed: int | None
    threads: int
    taps: tuple[str, ...] | None
    precision: Precision
    entries: tuple[Entry[Any], Entry[Any]]
    store: str | None
    device: str


class GuidePool:
    """The most recently used guides, for replicates of one group of workers."""

    def __init__(self) -> None:
        self._guides: OrderedDict[GuideKey, FrozenGuide] = OrderedDict()
        self._most = MAX_GUIDES

    def hold(self, number: int) -> None:
        """Hold at least as many guides as one replicate has, from now on."""
        self._most = max(self._most, number)

    def __len__(self) -> int:
        return len(self._guides)

    def guide(self, key: GuideKey, make: Callable[[], FrozenGuide]) -> FrozenGuide:
        """The guide of a key, from `make` if it is not in the pool."""
        guide = self._guides.pop(key, None)
        if guide is None:
            guide = make()
        self._guides[key] = guide
        if len(self._guides) > self._most:
            self._guides.popitem(last=False)
        return guide


class TrialPool:
    """The pool of one worker of a trial, and its number."""

    def __init__(self) -> None:
        self.number, self._pool, self._completed = 0, GuidePool(), True

    def begin(self) -> GuidePool:
        """The leader's pool for an attempt: a new one unless the last attempt was `completed`."""
        if not self._completed:
            self._renew(self.number + 1)
        self._completed = False
        return self._pool

    def completed(self) -> None:
        """Note that the attempt succeeded on every worker."""
        self._completed = True

    def numbered(self, number: int) -> GuidePool:
        """A follower's pool for an attempt: a new one if the leader's has another number."""
        if number != self.number:
            self._renew(number)
        return self._pool

    def _renew(self, number: int) -> None:
        self.number, self._pool = number, GuidePool()
