"""Comparisons of baselines and guided targets with their guides, after training.

A guided run measures its alignment in training, on a part of the test split. A comparison takes the
whole split, for three networks: the initial weights that baseline and guided target share, the
trained baseline, and the guided target. Trials make a comparison when the later one of its
replicates has ended; the driver makes the rest when training is over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from analysis.contract import Status
from study.plan.build import Plan
from study.plan.progress import Progress
from study.plan.replicates import PlannedCondition, PlanRow
from trainers import comparison, controls, distances
from trainers.comparison import Moment
from trainers.conditions.guidance import Term
from trainers.extensions.code_digest import source_digest
from trainers.store.folder import digest
from trainers.store.tables import ALIGNMENT, rows_table, table_of

#: Metadata of the table: digest of the comparisons that it holds.
_HOLDS = "archprior.comparisons"
_COLUMNS = {"guide_id": "string", "guide_moment": "string"} | dict(ALIGNMENT)

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


#: Makes comparisons: for each its rows, or the error as text.
Maker = Callable[[list[Wanted]], Iterable[Rows | str]]


def wanted(progress: Progress) -> list[Wanted]:
    """Every comparison whose replicates are finished."""
    finished = {i for i, state in progress.states.items() if state.status == Status.finished}
    found = _planned(progress.plan)
    return list(dict.fromkeys(each for each, replicates in found if replicates <= finished))


def by_replicate(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """Comparisons to try when a replicate has ended, by its id: arguments of `comparison.align`."""
    found: dict[str, dict[Wanted, None]] = {}
    for each, _ in _planned(plan):
        for identifier in (each.target_id, each.guide_id):
            found.setdefault(identifier, {})[each] = None
    return {identifier: [asdict(each) for each in pairs] for identifier, pairs in found.items()}


def run(
    progress: Progress,
    missing: Maker,
    say: Callable[[str], object],
    before: bytes | None = None,
) -> bytes:
    """All comparisons as a Parquet table; `missing` makes those that are not in the store.

    A comparison that fails is left out, and `say` gets a line about it. `before` is the table of an
    earlier run: it is returned as it is where it holds every comparison that is wanted now.
    """
    asked = wanted(progress)
    content = _digest(progress, asked)
    if before is not None and _holds(before) == content:
        return before
    found: dict[Wanted, Rows | str | None] = {}
    for each in asked:
        found[each] = _tried(comparison.stored, progress.store.uri, each)
    new = [each for each, rows in found.items() if rows is None]
    if new:
        say(f"comparing the taps of {len(new)} pairs of networks")
        try:
            found |= dict(zip(new, missing(new), strict=True))
        except Exception as error:
            # Training is done: its tables do not wait for this. The next run tries again.
            say(f"warning: no comparison of networks: {type(error).__name__}: {error}")
    table = []
    for each, rows in found.items():
        if isinstance(rows, str):
            say(f"warning: alignment of {each.target_id} and {each.guide_id}: {rows}")
            continue
        place = {"guide_id": each.guide_id, "guide_moment": each.guide_moment}
        table += [row | place for row in rows or ()]
    complete = all(rows and not isinstance(rows, str) for rows in found.values())
    told = {_HOLDS: content} if complete else {}
    return rows_table(table, _COLUMNS, checksums=True, told=told)


def _digest(progress: Progress, asked: Iterable[Wanted]) -> str:
    """Digest of comparisons, and of the trainings of the networks that they compare."""
    ends = {
        name: None if state.result is None else [state.result.ended, sorted(state.result.files)]
        for name, state in progress.states.items()
    }
    content = [
        [source_digest()],
        [[*asdict(e).values(), ends[e.target_id], ends[e.guide_id]] for e in asked],
    ]
    return digest(json.dumps(content).encode())


def _holds(content: bytes) -> str | None:
    """Digest of the comparisons that an earlier table holds; None if it says none, or is damaged.

    The table is read, so that damage is found.
    """
    try:
        told = table_of(content, _COLUMNS).schema.metadata or {}
    except ValueError:
        return None
    found = told.get(_HOLDS.encode())
    return None if found is None else str(found.decode())


def here(progress: Progress, check: Callable[[], object] = lambda: None) -> Maker:
    """A maker that compares in this process, one pair after another; `check` may raise between."""

    def make(new: list[Wanted]) -> Iterable[Rows | str]:
        align = partial(comparison.align, sides=comparison.Sides())
        for each in new:
            check()
            yield _tried(align, progress.store.uri, each) or []

    return make


def _tried(compare: Callable[..., Rows | None], store: str, pair: Wanted) -> Rows | str | None:
    try:
        return compare(store, **asdict(pair))
    except Exception as error:
        # Code of users runs here too: whatever it raises concerns this comparison alone.
        return f"{type(error).__name__}: {error}"


def _compares(term: Term) -> bool:
    """Whether a term's guide is a replicate, at its initial or its final moment."""
    if not controls.of(term).compared or distances.of_logits(term.distance.name):
        return False
    return term.guide.batch_norm in (None, "calibrated")


def _planned(plan: Plan) -> Iterator[tuple[Wanted, set[str]]]:
    """Comparisons, some repeatedly, each with the replicates that must be finished for it."""
    for use in plan.uses:
        if use.planned.is_candidate:
            continue
        for term, alone in zip(use.condition.terms, use.guides_alone, strict=True):
            if _compares(term):
                yield from _of(use, term, alone)


def _of(use: PlanRow, term: Term, alone: PlannedCondition) -> Iterator[tuple[Wanted, set[str]]]:
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
