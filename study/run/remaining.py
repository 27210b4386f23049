"""The time left of a run: its trials played to their end, at the pace of what it has done."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Seconds from the start of a trial to its first report, until one is seen: of a Ray Train group.
START_SECONDS = 25.0
#: Seconds of a replicate beyond its training: its share of Ray, its data, comparisons of networks.
REPLICATE_SECONDS = 1.5
#: Seconds of training, and replicates of a kind, for which what was expected counts beside what is
#: seen.
_DOUBT_SECONDS, _DOUBT_REPLICATES = 2.0, 0.5


@dataclass
class _Trial:
    """A trial, and when it was last heard of; None before its first report."""

    replicates: Sequence[str]
    heard: float | None = None


@dataclass
class _Seen:
    """Training that was seen: seconds, and the replicates that they make, parts of them too."""

    seconds: float = 0.0
    replicates: float = 0.0


@dataclass(kw_only=True)
class Remaining:
    """Remaining time of trials that take turns on some slots.

    `trials` holds the ids of each trial's replicates, in the order in which slots take them;
    `costs` the seconds that each replicate is expected to train: a guess that may be off by one
    factor, and more or less for each; `alike` a key of replicates that cost the same. A trial takes
    `start_seconds` until its first report. `now` is a clock in seconds.

    The time between two reports of a trial is that of the replicate which the second is of. Share
    by share it makes the factor, and the cost of others that are alike.
    """

    trials: Sequence[Sequence[str]]
    costs: Mapping[str, float]
    now: Callable[[], float]
    alike: Mapping[str, Any] = field(default_factory=dict)
    slots: int = 1
    start_seconds: float = START_SECONDS

    def __post_init__(self) -> None:
        self._began = self.now()
        self._trials = [_Trial(ids) for ids in self.trials]
        self._trial_of = {name: trial for trial in self._trials for name in trial.replicates}
        self._shares: dict[str, float] = {}
        self._seen: dict[Any, _Seen] = {}
        self._starts: list[float] = []
        self._seconds = self._expected = 0.0

    def trained(self, replicate_id: str, share: float) -> None:
        """Note the trained share of a replicate, 0 to 1.

        The share that is first noted is no pace: an earlier run may have trained it.
        """
        before = self._shares.get(replicate_id, share)
        self._shares[replicate_id] = share
        self._note(replicate_id, max(share - before, 0.0))

    def ended(self, replicate_id: str) -> None:
        """Note that a replicate trains no more, however it ended."""
        self._shares[replicate_id] = 1.0
        self._note(replicate_id, 0.0)

    def _note(self, replicate_id: str, share: float) -> None:
        trial, now = self._trial_of.get(replicate_id), self.now()
        if trial is None:
            return
        if trial.heard is None:
            self._starts.append(now - self._began)
            trial.heard = now
        passed = now - trial.heard
        seen = self._seen.setdefault(self._kind(replicate_id), _Seen())
        seen.seconds += passed
        seen.replicates += share
        self._seconds += passed
        self._expected += share * self.costs.get(replicate_id, 0.0)
        trial.heard = now

    def seconds(self) -> float:
        """Expected seconds until the last trial ends."""
        now = self.now()
        heard = [(trial.heard, trial) for trial in self._trials if trial.heard is not None]
        lefts = [(at, self._left(trial, now)) for at, trial in heard]
        running = [left for _, left in lefts if left > 0]
        # A slot that is free has been so since its last trial ended, and starts the next one.
        freed = sorted((heard for heard, left in lefts if left <= 0), reverse=True)
        free = [*freed, *[self._began] * self.slots][: max(self.slots - len(running), 0)]
        slots = [(left, self._start) for left in running]
        slots += [(0.0, max(self._start - (now - since), 0.0)) for since in free]
        heapq.heapify(slots)
        for trial in self._trials:
            if trial.heard is None:
                at, start = heapq.heappop(slots)
                heapq.heappush(slots, (at + start + self._left(trial, now), self._start))
        return max(at for at, _ in slots)

    @property
    def _start(self) -> float:
        """Seconds from the start of a trial to its first report, as the first trials took."""
        first = self._starts[: self.slots]
        return sum(first) / len(first) if first else self.start_seconds

    def _left(self, trial: _Trial, now: float) -> float:
        """Seconds of training that a trial has left, without its start."""
        left = [each for each in map(self._left_of, trial.replicates) if each > 0]
        if trial.heard is None or not left:
            return sum(left)
        # Since its last report it has gone on with a replicate, but is not known to have ended it.
        return sum(left) - min(now - trial.heard, left[0])

    def _left_of(self, replicate_id: str) -> float:
        share = 1 - self._shares.get(replicate_id, 0.0)
        expected = self.costs.get(replicate_id, 0.0) * self._factor
        seen = self._seen.get(self._kind(replicate_id), _Seen())
        seconds = seen.seconds + _DOUBT_REPLICATES * expected
        return share * seconds / (seen.replicates + _DOUBT_REPLICATES)

    @property
    def _factor(self) -> float:
        """Seconds seen a second expected; the nearer to 1, the less of it was seen."""
        if not self._expected:
            return 1.0
        weight = self._seconds / (self._seconds + _DOUBT_SECONDS)
        return float((self._seconds / self._expected) ** weight)

    def _kind(self, replicate_id: str) -> Any:
        return self.alike.get(replicate_id, replicate_id)
