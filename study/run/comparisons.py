"""Comparisons of baselines and guided targets with their guides, after training.

A guided run measures its alignment in training, on a part of the test split. A comparison takes the
whole split, for three networks: the initial weights that baseline and guided target share, the
trained baseline, and the guided target. Beside that, the taps of each guide are compared with the
labels. Trials make a comparison when the last of its replicates has ended; the driver makes the
rest when training is over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from analysis.contract import ALIGNMENTS, GUIDE_TAPS, Status
from study.plan.build import Plan
from study.plan.progress import Progress
from study.plan.replicates import PlannedCondition, PlanRow
from trainers import comparison, controls, distances
from trainers.comparison import Moment
from trainers.conditions.guidance import Term
from trainers.extensions.code_digest import source_digest
from trainers.store import checkpoint
from trainers.store.folder import digest
from trainers.store.store import CorruptError
from trainers.store.tables import ALIGNMENT, rows_table, table_of

#: Metadata of a table: digest of the comparisons of a study, which it and the other tables hold.
_HOLDS = "archprior.comparisons"
_COLUMNS = {
    ALIGNMENTS: {"guide_id": "string", "guide_moment": "string"} | dict(ALIGNMENT),
    GUIDE_TAPS: comparison.GUIDE_TAPS,
}

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Wanted:
    """A target and a guide, each at a moment: an untrained guide is at the `initial` one.

    A pretrained guide has no seed; `guide_seed` is then the seed of its initial weights.
    """

    target_id: str
    guide_id: str
    moment: Moment
    guide_moment: Moment
    guide_seed: int | None = None

    def __str__(self) -> str:
        return f"alignment of {self.target_id} and {self.guide_id}"


@dataclass(frozen=True)
class WantedTaps:
    """A guide by itself, at a moment; `guide_seed` as in `Wanted`."""

    guide_id: str
    guide_moment: Moment
    guide_seed: int | None = None

    def __str__(self) -> str:
        return f"taps of guide {self.guide_id}"


Asked = Wanted | WantedTaps
#: Makes comparisons: for each its rows, or the error as text.
Maker = Callable[[list[Asked]], Iterable[Rows | str]]


def wanted(progress: Progress) -> list[Asked]:
    """Every comparison whose replicates are finished."""
    finished = {i for i, state in progress.states.items() if state.status == Status.finished}
    found = _planned(progress.plan)
    return list(dict.fromkeys(each for each, replicates in found if replicates <= finished))


def by_replicate(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """Comparisons to try when a replicate has ended, by its id: arguments of `comparison.make`."""
    found: dict[str, dict[Asked, None]] = {}
    for each, _ in _planned(plan):
        for identifier in _compared(each):
            found.setdefault(identifier, {})[each] = None
    return {identifier: [asdict(each) for each in pairs] for identifier, pairs in found.items()}


def run(
    progress: Progress,
    missing: Maker,
    say: Callable[[str], object],
    before: Mapping[str, bytes] = MappingProxyType({}),
) -> dict[str, bytes]:
    """All comparisons as Parquet tables, by file; `missing` makes those that are not in the store.

    A comparison that fails is left out, and `say` gets a line about it; a replicate whose weights
    turn out to be damaged is missing then, to be trained anew. `before` are the tables of an
    earlier run: they are returned as they are where they hold every comparison that is wanted now.
    """
    asked = wanted(progress)
    content = _digest(progress, asked)
    if all(name in before and _holds(name, before[name]) == content for name in _COLUMNS):
        return dict(before)
    _describe_anew(progress, asked, say)
    found: dict[Asked, Rows | str | None] = {}
    for each in asked:
        found[each] = _tried(comparison.made, progress.store.uri, each)
    new = [each for each, rows in found.items() if rows is None]
    if new:
        say(f"making {len(new)} comparisons of the taps of networks")
        try:
            found |= dict(zip(new, missing(new), strict=True))
        except Exception as error:
            # Training is done: its tables do not wait for this. The next run tries again.
            say(f"warning: no comparison of networks: {type(error).__name__}: {error}")
    complete = all(rows and not isinstance(rows, str) for rows in found.values())
    tables: dict[str, Rows] = {name: [] for name in _COLUMNS}
    for each in list(found):
        # Not kept twice: of 10,000 comparisons that is the most that a driver ever holds.
        rows = found.pop(each)
        if isinstance(rows, str):
            say(f"warning: {each}: {rows}")
            _discard_damaged(progress, each, say)
            continue
        name = ALIGNMENTS if isinstance(each, Wanted) else GUIDE_TAPS
        place = {"guide_id": each.guide_id, "guide_moment": each.guide_moment}
        tables[name] += [row | place for row in rows or ()]
    told = {_HOLDS: content} if complete else {}
    return {
        name: rows_table(rows, _COLUMNS[name], checksums=True, told=told)
        for name, rows in tables.items()
    }


def _describe_anew(
    progress: Progress, asked: Iterable[Asked], say: Callable[[str], object]
) -> None:
    """Write `condition.json` of compared replicates where it is not what the plan says."""
    for identifier in dict.fromkeys(name for each in asked for name in _compared(each)):
        replicate, stored = progress.by_id[identifier], progress.store.replicate(identifier)
        if stored.describe_anew(replicate.condition, replicate.seed):
            place = f"{stored.folder.uri}/condition.json"
            say(f"warning: {place} was damaged or missing: written anew")


def _discard_damaged(progress: Progress, each: Asked, say: Callable[[str], object]) -> None:
    """Discard those replicates of a comparison that failed whose weights are damaged."""
    for identifier in _compared(each):
        try:
            checkpoint.load_final(progress.store.replicate(identifier))
        except CorruptError as error:
            say(f"warning: {error}: run the study again to train it anew")
            progress.discard(identifier)
        except FileNotFoundError:
            # Discarded for another comparison, or imported without.
            continue


def _digest(progress: Progress, asked: Iterable[Asked]) -> str:
    """Digest of comparisons, and of the trainings of the networks that they compare."""
    ends = {
        name: None if state.result is None else [state.result.ended, sorted(state.result.files)]
        for name, state in progress.states.items()
    }
    content = [
        [source_digest()],
        [[*asdict(e).values(), *(ends[name] for name in _compared(e))] for e in asked],
    ]
    return digest(json.dumps(content).encode())


def _compared(each: Asked) -> tuple[str, ...]:
    """Ids of the replicates that are compared."""
    return (each.target_id, each.guide_id) if isinstance(each, Wanted) else (each.guide_id,)


def _holds(name: str, content: bytes) -> str | None:
    """Digest of the comparisons that an earlier table holds; None if it says none, or is damaged.

    The table is read, so that damage is found.
    """
    try:
        told = table_of(content, _COLUMNS[name]).schema.metadata or {}
    except ValueError:
        return None
    found = told.get(_HOLDS.encode())
    return None if found is None else str(found.decode())


def here(progress: Progress, check: Callable[[], object] = lambda: None) -> Maker:
    """A maker that compares in this process, one pair after another; `check` may raise between."""

    def make(new: list[Asked]) -> Iterable[Rows | str]:
        compare = partial(comparison.make, sides=comparison.Sides())
        for each in new:
            check()
            yield _tried(compare, progress.store.uri, each) or []

    return make


def or_here(
    elsewhere: Maker, gone: tuple[type[Exception], ...], said: Callable[[str], object], own: Maker
) -> Maker:
    """A maker that compares `elsewhere`, and by its `own` means where that place is `gone`."""

    def make(new: list[Asked]) -> Iterable[Rows | str]:
        try:
            return elsewhere(new)
        except gone as error:
            said(f"warning: {type(error).__name__}: networks are compared by this process")
            return own(new)

    return make


def _tried(compare: Callable[..., Rows | None], store: str, each: Asked) -> Rows | str | None:
    try:
        return compare(store, **asdict(each))
    except Exception as error:
        # Code of users runs here too: whatever it raises concerns this comparison alone.
        return f"{type(error).__name__}: {error}"


def _compares(term: Term) -> bool:
    """Whether a term's guide is a replicate, at its initial or its final moment."""
    if not controls.of(term).compared or distances.of_logits(term.distance.name):
        return False
    return term.guide.batch_norm in (None, "calibrated")


def _planned(plan: Plan) -> Iterator[tuple[Asked, set[str]]]:
    """Comparisons, some repeatedly, each with the replicates that must be finished for it."""
    for use in plan.uses:
        if use.planned.is_candidate:
            continue
        for term, alone in zip(use.condition.terms, use.guides_alone, strict=True):
            if _compares(term):
                yield from _of(use, term, alone)


def _of(use: PlanRow, term: Term, alone: PlannedCondition) -> Iterator[tuple[Asked, set[str]]]:
    baseline = use.baseline
    assert baseline is not None
    guide_moment: Moment = "final" if term.guide.state == "trained" else "initial"
    for seed in use.seeds:
        shared = alone.condition.weights is not None and guide_moment == "initial"
        guide_seed = seed if shared else None
        before, guided, guide = baseline.ids[seed], use.planned.ids[seed], alone.ids[seed]
        replicates = {before, guided, guide}
        yield Wanted(before, guide, "initial", guide_moment, guide_seed), replicates
        yield Wanted(before, guide, "final", guide_moment, guide_seed), replicates
        yield Wanted(guided, guide, "final", guide_moment, guide_seed), replicates
        yield WantedTaps(guide, guide_moment, guide_seed), {guide}
