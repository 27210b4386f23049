"""The pace of a run: how many replicates end in a time, and how long the rest takes at it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

#: Replicates that ended within so many seconds make the rate, or so many of the last where that is
#: longer ago: slow ones do not end every ten minutes.
_RATE_SECONDS, _RATE_REPLICATES = 600.0, 10
#: Least rate in a unit, so that whole numbers of it say enough.
_LEAST_IN_UNIT = 3.0
_UNITS = (("a minute", 60.0), ("an hour", 3600.0), ("a day", 86400.0))


def rate(ends: Sequence[float], began: float, now: float) -> float | None:
    """Replicates that end a second, of late; None before one has.

    `ends` are the moments at which replicates ended, in order, and `began` is when the first of
    them began, all in seconds of one clock.
    """
    num_before = min(bisect_right(ends, now - _RATE_SECONDS), max(len(ends) - _RATE_REPLICATES, 0))
    since = ends[num_before - 1] if num_before else began
    recent = len(ends) - num_before
    return recent / (now - since) if recent and now > since else None


def per_time(rate: float) -> str:
    """A rate in a unit of time in which it is no small number: `20 a minute`, `7 an hour`."""
    for word, seconds in _UNITS:
        if rate * seconds >= _LEAST_IN_UNIT:
            return f"{rate * seconds:.0f} {word}"
    word, seconds = _UNITS[-1]
    return f"{rate * seconds:.2g} {word}"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A replicate of the present run that has ended: when, and how many seconds it trained."""

    at: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class AtWork:
    """A replicate that is trained now: since when, and its share, 0 to 1, that is saved."""

    id: str
    since: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Pace:
    """The pace of a run that began at `since`, at the moment `now`, in seconds since 1970.

    `ended` are replicates that have ended since, in order; `at_work` those that are trained now.
    """

    since: float
    now: float
    ended: Sequence[Ended]
    at_work: Sequence[AtWork]

    @property
    def began(self) -> float:
        """When the first replicate of the run began to train: it may have waited for Ray."""
        begins = [each.at - each.seconds for each in self.ended]
        begins += [each.since for each in self.at_work]
        return max(self.since, min(begins, default=self.now))

    @property
    def rate(self) -> float | None:
        """Replicates that end a second, of late; None before one has."""
        return rate([each.at for each in self.ended], self.began, self.now)

    @property
    def concurrency(self) -> float:
        """Mean number of replicates that were trained at a time since the first one began."""
        began = self.began
        trained = sum(min(each.seconds, each.at - began) for each in self.ended)
        trained += sum(self.now - max(each.since, began) for each in self.at_work)
        return trained / (self.now - began) if self.now > began else float(len(self.at_work))

    def seconds_left(self, costs: Mapping[str, float], later: Collection[float]) -> float | None:
        """Expected seconds until the last replicate ends; None where nothing has trained yet.

        `costs` are the seconds that each replicate which has not ended trains in all, by id;
        `later` those of replicates that are not planned yet.
        """
        left = dict(costs)
        for each in self.at_work:
            if each.id in left:
                cost = left[each.id]
                left[each.id] = min(
                    (1 - each.share) * cost, max(cost - (self.now - each.since), 0.0)
                )
        total = sum(left.values()) + sum(later)
        if self.concurrency <= 0:
            return None
        # The longest one is not split among those that train at a time.
        return max(total / self.concurrency, *left.values(), *later, 0.0)
