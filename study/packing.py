"""Which replicates share a trial: start-up small beside training, and every slot used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.plan import Replicate
from trainers.condition import to_json

#: Training that is worth the start of a trial (about ten CPU-seconds): start-up below 5 percent.
WORTHWHILE_SECONDS = 300.0


@dataclass(frozen=True)
class Trial:
    """Replicates that one worker group trains in turn, and its expected training time."""

    replicates: tuple[Replicate, ...]
    seconds: float

    @property
    def requires(self) -> set[str]:
        """Ids of guides that must be finished before the trial may start."""
        own = {replicate.id for replicate in self.replicates}
        needed = {r.requires for r in self.replicates if r.requires is not None}
        return needed - own

    def payload(self) -> dict[str, Any]:
        """What a worker needs to know."""
        return {
            "replicates": [
                {"condition": to_json(r.condition), "seed": r.seed} for r in self.replicates
            ]
        }


def pack(
    todo: Sequence[Replicate],
    seconds: Mapping[str, float],
    *,
    slots: int,
    per_trial: int | str = "auto",
) -> list[Trial]:
    """Group replicates into trials; those that wait for a guide in `todo` come last.

    `seconds` is the expected training time by replicate id; `slots` is how many trials the cluster
    trains at once. Replicates that share task, guide and seed stay together as far as possible:
    they share the guide's features.
    """
    waiting = {replicate.id for replicate in todo if replicate.condition.role == "guide"}
    first = [r for r in todo if r.requires not in waiting]
    second = [r for r in todo if r.requires in waiting]
    return [
        trial
        for stage in (first, second)
        if stage
        for trial in _pack_stage(stage, seconds, slots, per_trial)
    ]


def _pack_stage(
    stage: Sequence[Replicate], seconds: Mapping[str, float], slots: int, per_trial: int | str
) -> list[Trial]:
    if isinstance(per_trial, int):
        parts = [stage[at : at + per_trial] for at in range(0, len(stage), per_trial)]
        return [_trial(part, seconds) for part in parts]
    total = sum(seconds[r.id] for r in stage)
    count = min(len(stage), max(slots, math.ceil(total / WORTHWHILE_SECONDS)))
    groups: dict[Any, list[Replicate]] = {}
    for replicate in stage:
        groups.setdefault(_sharing(replicate), []).append(replicate)
    pieces = _cut(list(groups.values()), seconds, total / count, count)
    bins: list[list[Replicate]] = [[] for _ in range(count)]
    loads = [0.0] * count
    for piece in sorted(pieces, key=lambda p: -_cost(p, seconds)):
        lightest = loads.index(min(loads))
        bins[lightest] += piece
        loads[lightest] += _cost(piece, seconds)
    return [_trial(part, seconds) for part in bins if part]


def _cut(
    groups: list[list[Replicate]], seconds: Mapping[str, float], share: float, count: int
) -> list[list[Replicate]]:
    """Groups, those larger than a fair share cut so that the trials come out even."""
    limit = share / 2 if len(groups) < 2 * count else share
    pieces: list[list[Replicate]] = []
    for group in groups:
        piece: list[Replicate] = []
        for replicate in group:
            if piece and _cost([*piece, replicate], seconds) > limit:
                pieces.append(piece)
                piece = []
            piece.append(replicate)
        pieces.append(piece)
    return pieces


def _sharing(replicate: Replicate) -> Any:
    condition = replicate.condition
    if condition.role == "guide":
        # A guide stands alone, so that guides spread over all trials and are finished early.
        return replicate.id
    guide = None if condition.guidance is None else condition.guidance.guide
    return condition.task, guide, replicate.seed


def _cost(replicates: Sequence[Replicate], seconds: Mapping[str, float]) -> float:
    return sum(seconds[replicate.id] for replicate in replicates)


def _trial(replicates: Sequence[Replicate], seconds: Mapping[str, float]) -> Trial:
    guides_first = sorted(replicates, key=lambda r: r.condition.role != "guide")
    return Trial(tuple(guides_first), _cost(replicates, seconds))
