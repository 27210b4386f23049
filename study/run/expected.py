"""Expected training times of a study, kept beside it, to be set against what it took."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Any

from analysis.contract import EXPECTED_SECONDS, Status
from study.plan.states import States
from trainers.data import json_mapping
from trainers.store.folder import Folder

if TYPE_CHECKING:
    from study.plan.replicates import Listed


def remember(folder: Folder, seconds: Mapping[str, float]) -> None:
    """Add expected training seconds, by replicate id, to those of a study's folder.

    What was expected of a replicate first stays: later estimates know what others took.
    """
    known = recall(folder)
    merged = {name: round(each, 3) for name, each in seconds.items()} | known
    if merged != known:
        folder.write(EXPECTED_SECONDS, json.dumps(merged, indent=0).encode())


def recall(folder: Folder) -> dict[str, float]:
    """Expected training seconds by replicate id; empty where none were kept, or are damaged."""
    if not folder.exists(EXPECTED_SECONDS):
        return {}
    try:
        return json_mapping.parse(folder.read(EXPECTED_SECONDS))
    except ValueError:
        # They decide nothing.
        return {}


def costs(states: States[Any], kept: Mapping[str, float]) -> dict[str, float]:
    """Training seconds by id: of finished replicates those taken, of replicates to train expected.

    Those are the mean of the finished seeds of a condition, else what was expected and `kept`, at
    the pace of all that have finished; replicates of which nothing is known are left out.
    """
    taken: dict[str, float] = {}
    alike: defaultdict[Hashable, list[float]] = defaultdict(list)
    for replicate in states.listed.replicates:
        result = states.states[replicate.id].result
        if result is not None:
            taken[replicate.id] = result.train_seconds
            alike[_kind(replicate)].append(result.train_seconds)
    compared = taken.keys() & kept.keys()
    guessed = sum(kept[identifier] for identifier in compared)
    factor = sum(taken[identifier] for identifier in compared) / guessed if guessed else 1.0
    found = dict(taken)
    for replicate in states.listed.replicates:
        if states.states[replicate.id].status != Status.missing:
            continue
        if seeds := alike.get(_kind(replicate)):
            found[replicate.id] = fmean(seeds)
        elif replicate.id in kept:
            found[replicate.id] = factor * kept[replicate.id]
    return found


def _kind(replicate: Listed) -> Hashable:
    return replicate.role, tuple(replicate.labels.items()), replicate.num_steps
