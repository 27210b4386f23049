"""Advice on the guides of a spec before anything is trained: by their alignment at the start.

How good such advice was, the tables `predictors` of the studies in the store say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.cells import records
from analysis.contract import Role
from analysis.errors import DamagedFileError, UserError
from analysis.hints import command
from analysis.names import is_name
from analysis.parquet_files import checked, contents, damage, decode
from analysis.predictors.table import INITIAL_ALIGNMENT
from analysis.statistics import PairedDifference, paired_difference
from study.plan.replicates import PlanRow
from trainers import distances
from trainers.comparison import initial_alignment, missing_guide
from trainers.runtime.devices import on_cpu

if TYPE_CHECKING:
    from study.plan.build import Plan
    from trainers.store.store import Store

#: Columns that candidates share, among which they are ranked, and those that tell them apart.
RANKED_IN = ("task", "target", "state", "mapping")
_KEY = (*RANKED_IN, "guide")
#: Columns that tell the groups of a table `predictors` apart.
_GROUP = ("task", "state", "distance", "mapping", "schedule")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A guide of a target: its alignment before training over `n` seeds, or why it is not known.

    `rank` is 1 for the most aligned guide of the same task, target, state and mapping.
    """

    task: str
    target: str
    state: str
    mapping: str
    guide: str
    n: int
    alignment: float | None = None
    low: float | None = None
    high: float | None = None
    rank: int | None = None
    unknown: str | None = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """How well initial alignment predicted the gain in one group of a study in the store.

    `created` is when its table was written, in UTC; what has ended since is not in it.
    """

    study: str
    created: str | None
    task: str
    state: str | None
    distance: str | None
    mapping: str | None
    schedule: str | None
    guides: int
    targets: int
    spearman: float | None
    spearman_low: float | None
    spearman_high: float | None
    spearman_p: float | None
    error_reduction: float | None
    error_reduction_low: float | None
    error_reduction_high: float | None
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Candidates in the order of their ranks, records of studies, and studies without any.

    `not_ranked` conditions have several guides at once, or a distance that compares answers.
    """

    study: str
    candidates: Sequence[Candidate]
    not_ranked: int
    records: Sequence[Record]
    unread: dict[str, str]

    def content(self) -> dict[str, Any]:
        """The advice as JSON values."""
        return asdict(self)


def advise(plan: Plan, store: Store, *, num_seeds: int) -> Advice:
    """Rank the guides of a plan at its first seeds, on the CPU; trains and writes nothing."""
    guided = [use for use in plan.uses if use.condition.role == Role.guided]
    # A search has candidates alone until it is over.
    guided.sort(key=lambda use: use.is_candidate)
    ranked = [use for use in guided if _can_be_ranked(use)]
    first: dict[tuple[Any, ...], PlanRow] = {}
    for use in ranked:
        # Distances and schedules play no part before training.
        first.setdefault(tuple(use.labels[name] for name in _KEY), use)
    with on_cpu():
        found = [_candidate(use, store, num_seeds) for use in first.values()]
    records, unread = _records(store)
    return Advice(
        study=plan.name,
        candidates=list(_ranked(found)),
        not_ranked=len(guided) - len(ranked),
        records=records,
        unread=unread,
    )


def _can_be_ranked(use: PlanRow) -> bool:
    """Whether a row has one guide, and a distance of features."""
    terms = use.condition.terms
    return len(terms) == 1 and not distances.of_logits(terms[0].distance.name)


def _candidate(use: PlanRow, store: Store, num_seeds: int) -> Candidate:
    named = {name: use.labels[name] for name in _KEY}
    values, reasons = list[float](), list[str]()
    for seed in list(use.seeds)[:num_seeds]:
        reason = missing_guide(use.condition, seed, store)
        if reason is None:
            value = initial_alignment(use.condition, seed, store)
            reason = "its features are not finite" if value is None else None
            values += [] if value is None else [value]
        reasons += [] if reason is None else [reason]
    found = _over_seeds(values)
    return Candidate(
        **named, n=found.n, alignment=found.mean, low=found.low, high=found.high,
        unknown=reasons[0] if reasons and not values else None,
    )  # fmt: skip


def _over_seeds(values: Sequence[float]) -> PairedDifference:
    return paired_difference(np.array(values, dtype=float), np.zeros(len(values)))


def _ranked(found: Sequence[Candidate]) -> Iterator[Candidate]:
    """Candidates by group and rank; those that are not known come last in their group."""
    groups: dict[tuple[str, ...], list[Candidate]] = {}
    for each in found:
        groups.setdefault(tuple(getattr(each, name) for name in RANKED_IN), []).append(each)
    for group in groups.values():
        known = [each for each in group if each.alignment is not None]
        known.sort(key=lambda each: -(each.alignment or 0.0))
        for rank, each in enumerate(known, 1):
            yield Candidate(**asdict(each) | {"rank": rank})
        yield from (each for each in group if each.alignment is None)


def _records(store: Store) -> tuple[list[Record], dict[str, str]]:
    """Records of all studies of a store, and why others have none."""
    found, unread = list[Record](), dict[str, str]()
    for study in sorted(filter(is_name, (store.root / "studies").names())):
        content = contents(store.uri, study, ["predictors"]).get("predictors")
        if content is None:
            unread[study] = (
                "no table predictors: archprior run SPEC measures what it needs and writes it, "
                f"{command('analyze', study, store=store.uri)} writes it of what is measured"
            )
            continue
        try:
            source = f"predictors of study {study!r}"
            with damage(source, f"{command('analyze', study, store=store.uri)} writes it anew"):
                created = checked(content).get("created")
            frame = decode(content, "predictors", source)
        except (DamagedFileError, UserError) as error:
            unread[study] = str(error)
            continue
        rows = frame[frame["predictor"] == INITIAL_ALIGNMENT].drop_duplicates(list(_GROUP))
        names = Record.__dataclass_fields__
        for row in records(rows):
            told = {name: value for name, value in row.items() if name in names}
            found.append(Record(**told | {"created": created}))
        if rows.empty:
            unread[study] = "no guided conditions"
    return found, unread
