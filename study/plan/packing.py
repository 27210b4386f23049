"""Packs replicates into trials, so that start-up is small beside training and no slot is idle."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.plan.replicates import Replicate

#: Training time that keeps the start of a trial (about 20 CPU-seconds) below 5 percent of it.
WORTHWHILE_SECONDS = 600.0
#: Families are cut where a trial would take this many times a fair share: other slots would idle.
UNEVEN = 1.2


@dataclass(frozen=True)
class Trial:
    """Replicates that one worker group trains in turn, and their expected training seconds."""

    replicates: tuple[Replicate, ...]
    seconds: float

    @property
    def requires(self) -> set[str]:
        """Ids of guides that must be finished before the trial may start."""
        members = {replicate.id for replicate in self.replicates}
        needed: set[str] = set().union(*(r.requires for r in self.replicates))
        return needed - members

    def payload(self, comparisons: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
        """The replicates as a worker gets them, each with the comparisons that follow it."""
        return [
            {
                "condition": r.planned.content, "seed": r.seed, "id": r.id,
                "comparisons": comparisons.get(r.id, ()),
                "best_validation": r.planned.best_validation,
            }
            for r in self.replicates
        ]  # fmt: skip


def pack(
    todo: Sequence[Replicate],
    seconds: Mapping[str, float],
    *,
    slots: int,
    per_trial: int | str = "auto",
) -> list[Trial]:
    """Group replicates into trials; those that need a guide of another trial come last.

    `seconds` is the expected training time by replicate id; `slots` is how many trials the cluster
    trains at once. A guide and all that it guides at one seed (a family) share a trial where no
    slot idles: nothing waits, and the guide's features are computed once. Others are cut. Families
    that a mixture of guides joins are one, or trials could wait for each other.
    """
    if isinstance(per_trial, int):
        return _chunks(todo, seconds, per_trial)
    families = _families(todo)
    share = _cost(todo, seconds) / _num_trials(todo, seconds, slots)
    whole = _staged(families, seconds, slots, largest=share)
    if all(trial.seconds <= UNEVEN * share for trial in whole):
        return whole
    return _staged(families, seconds, slots, largest=share / 4)


def _staged(
    families: Iterable[list[Replicate]],
    seconds: Mapping[str, float],
    slots: int,
    *,
    largest: float,
) -> list[Trial]:
    """Trials of families of at most `largest` seconds; larger ones are cut to that size.

    Replicates that wait for the guide of a cut family are in a second stage.
    """
    first: list[list[Replicate]] = []
    second: list[list[Replicate]] = []
    for family in families:
        if _cost(family, seconds) <= largest:
            first.append(family)
            continue
        guides = {replicate.id for replicate in family if replicate.condition.is_guide}
        waiting = [replicate for replicate in family if replicate.requires & guides]
        free = [replicate for replicate in family if not replicate.requires & guides]
        first += _cut(free, seconds, largest)
        second += _cut(waiting, seconds, largest)
    return [trial for stage in (first, second) if stage for trial in _fill(stage, seconds, slots)]


def _chunks(todo: Sequence[Replicate], seconds: Mapping[str, float], per_trial: int) -> list[Trial]:
    """Trials of a fixed size; a replicate never stands before or beside the guide it needs."""
    guides = {replicate.id for replicate in todo if replicate.condition.is_guide}
    stages = (
        [r for r in todo if not r.requires & guides],
        [r for r in todo if r.requires & guides],
    )
    return [
        _trial(stage[at : at + per_trial], seconds)
        for stage in stages
        for at in range(0, len(stage), per_trial)
    ]


def _fill(pieces: list[list[Replicate]], seconds: Mapping[str, float], slots: int) -> list[Trial]:
    """Spread pieces evenly: the longest first, each to the trial with the least training."""
    stage = [replicate for piece in pieces for replicate in piece]
    count = min(len(pieces), _num_trials(stage, seconds, slots))
    bins: list[list[Replicate]] = [[] for _ in range(count)]
    # Among equally loaded trials the one of fewest replicates, so that none stays empty.
    lightest = [(0.0, 0, index) for index in range(count)]
    for piece in sorted(pieces, key=lambda p: -_cost(p, seconds)):
        load, number, index = lightest[0]
        bins[index] += piece
        heapq.heapreplace(lightest, (load + _cost(piece, seconds), number + len(piece), index))
    return [_trial(part, seconds) for part in bins]


def _num_trials(stage: Sequence[Replicate], seconds: Mapping[str, float], slots: int) -> int:
    """Number of trials: a multiple of the slots, so that no slot trains a last trial alone."""
    rounds = math.ceil(_cost(stage, seconds) / (slots * WORTHWHILE_SECONDS))
    return max(1, min(len(stage), slots * max(1, rounds)))


def _cut(
    family: Sequence[Replicate], seconds: Mapping[str, float], limit: float
) -> list[list[Replicate]]:
    """Cut a family into pieces of at most `limit` seconds, or of one replicate."""
    pieces: list[list[Replicate]] = []
    length = 0.0
    for replicate in family:
        length += seconds[replicate.id]
        if pieces and length <= limit:
            pieces[-1].append(replicate)
        else:
            pieces.append([replicate])
            length = seconds[replicate.id]
    return pieces


def _families(todo: Sequence[Replicate]) -> list[list[Replicate]]:
    """Replicates by family; those whose guides a mixture needs together are in one."""
    keys = [_family(replicate) for replicate in todo]
    family_of = {r.id: key for r, key in zip(todo, keys, strict=True) if r.condition.is_guide}
    joined: dict[Any, Any] = {}

    def root(key: Any) -> Any:
        while key in joined:
            key = joined[key]
        return key

    for replicate, key in zip(todo, keys, strict=True):
        for needed in replicate.requires & family_of.keys():
            one, other = root(key), root(family_of[needed])
            if one != other:
                joined[other] = one
    families: dict[Any, list[Replicate]] = {}
    for replicate, key in zip(todo, keys, strict=True):
        families.setdefault(root(key), []).append(replicate)
    return list(families.values())


def _family(replicate: Replicate) -> Any:
    """A key of replicates that share a guide's training and features: task, architecture, seed.

    Replicates of several guides have that of the first.
    """
    condition = replicate.condition
    if condition.is_guide:
        return condition.task, condition.target, replicate.seed
    if not condition.terms:
        return replicate.id
    return condition.task, condition.terms[0].guide.architecture, replicate.seed


def _cost(replicates: Sequence[Replicate], seconds: Mapping[str, float]) -> float:
    return sum(seconds[replicate.id] for replicate in replicates)


def _trial(replicates: Sequence[Replicate], seconds: Mapping[str, float]) -> Trial:
    """A trial that trains guides first, then replicates in groups that share a guide's state."""
    order = sorted(replicates, key=lambda r: (not r.condition.is_guide, str(_state(r))))
    return Trial(tuple(order), _cost(replicates, seconds))


def _state(replicate: Replicate) -> Any:
    condition = replicate.condition
    guides = tuple(term.guide for term in condition.terms)
    return (str(condition.task), guides, replicate.seed) if guides else None
