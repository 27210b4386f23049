"""The `consistency` table: how far a network's errors are those of its guide and of others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis import cells
from analysis.answers import Answers
from analysis.cells import Cell, records
from analysis.consistency.bootstrap import DRAWS, Pair
from analysis.consistency.contrasts import Agreeing, Agreement, Agreements, Weights
from analysis.consistency.known import KnownRows
from analysis.contract import CONDITION_COLUMNS, Role
from analysis.schema import frame_of, schema

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, object]
#: Replicates by position of the seed; None where there is none.
Replicates = Sequence[str | None]

_MEANS = ("observed", "expected", "bound_low", "bound_high", "kappa_matched", "same_wrong")


def consistency_table(
    replicates: pd.DataFrame,
    answers: Answers,
    draws: int = DRAWS,
    known: KnownRows | None = None,
) -> pd.DataFrame:
    """Error consistency of every condition with its guide, its baseline and others.

    Guided and control conditions first; then, for reference, baselines with each guide (the floor;
    `guide` is then the guide that they are compared with), baselines with baselines of other seeds,
    and guides with guides of other seeds (the ceiling). An untrained guide is, here as in
    `guide_alone`, its architecture trained alone.

    Args:
        replicates: the `replicates` table, a row for each planned replicate in each of its places.
        answers: those of the replicates.
        draws: number of bootstrap draws.
        known: rows of an earlier table, which are taken where they follow from the same answers.

    Raises ValueError where a condition holds a seed twice.
    """
    known = KnownRows({}) if known is None else known
    agreeing = Agreeing(answers, draws)
    rows: list[Row] = []
    all_cells = cells.cells(replicates)
    for learners in [*_guided(all_cells), *_references(all_cells, replicates)]:
        digest = known.digest(*learners.content(draws))
        found = known.find(digest)
        if found is None:
            agreements = agreeing.agreements(learners.pairs)
            found = [learners.row(other, agreements) for other in learners.others]
        known.note(digest, found)
        rows += found
    return frame_of(rows, schema("consistency"))


@dataclass(frozen=True, kw_only=True)
class _Learners:
    """The replicates of one condition by seed, and for each the replicates it is compared with.

    `others`: value of the column `with` to the replicates of the other side. `baselines`: for
    `excess`, where that is defined.
    """

    condition: Mapping[str, object]
    ids: Replicates
    others: Mapping[str, Replicates]
    baselines: Replicates = ()

    def content(self, draws: int) -> tuple[dict[str, object], set[str | None]]:
        """All that its rows follow from beside answers, and the replicates that take part."""
        parts = {**vars(self), "draws": draws}
        return parts, {
            *self.ids,
            *self.baselines,
            *(n for ids in self.others.values() for n in ids),
        }

    @property
    def pairs(self) -> Iterator[Pair]:
        """All pairs that its rows need."""
        for other in self.others:
            for pairs in self._by_seed(other):
                yield from pairs
        yield from (pair for pair in self._floor() if pair is not None)

    def row(self, other: str, known: Agreements) -> Row:
        """The row with one kind of other side."""
        seeds = [[p for p in pairs if p in known] for pairs in self._by_seed(other)]
        seeds = [pairs for pairs in seeds if pairs]
        kappa = known.contrast([_average(pairs) for pairs in seeds])
        row: Row = {**self.condition, "with": other, "n": len(seeds)}
        row |= {"kappa": kappa.estimate, "kappa_low": kappa.low, "kappa_high": kappa.high}
        if seeds:
            row["examples"] = known.pairs[seeds[0][0]].examples
        row |= _means_over_seeds(seeds, known)
        return row | self._specific(known) if other == "guide" else row

    def _specific(self, known: Agreements) -> Row:
        """Columns `excess` and `own` of the row with the guide."""
        excess: list[Weights] = []
        own: list[Weights] = []
        others = self._by_seed("other_guide")
        for pairs, floor, rest in zip(self._by_seed("guide"), self._floor(), others, strict=True):
            if not pairs or pairs[0] not in known:
                continue
            if floor is not None and floor in known:
                excess.append(_minus(pairs[0], [floor]))
            defined = [pair for pair in rest if pair in known]
            if defined:
                own.append(_minus(pairs[0], defined))
        row: Row = {}
        for name, seeds in (("excess", excess), ("own", own)):
            found = known.contrast(seeds)
            row |= {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}
        return row

    def _by_seed(self, other: str) -> list[list[Pair]]:
        """For each seed its pairs: with the replicate of that seed, or with those of the others."""
        if not other.startswith("other_"):
            return [
                [(a, b)] if a is not None and b is not None else []
                for a, b in zip(self.ids, self.others[other], strict=True)
            ]
        there = self.others[other]
        return [
            [(a, b) for b in dict.fromkeys(there) if a is not None and b not in (None, a, mine)]
            for a, mine in zip(self.ids, there, strict=True)
        ]

    def _floor(self) -> list[Pair | None]:
        """For each seed the baseline and the guide."""
        if not self.baselines:
            return [None] * len(self.ids)
        return [
            None if a is None or b is None else (a, b)
            for a, b in zip(self.baselines, self.others["guide"], strict=True)
        ]


def _average(pairs: Sequence[Pair]) -> Weights:
    return dict.fromkeys(pairs, 1 / len(pairs))


def _minus(first: Pair, others: Sequence[Pair]) -> Weights:
    weights = dict.fromkeys(others, -1 / len(others))
    weights[first] = weights.get(first, 0.0) + 1
    return weights


def _means_over_seeds(seeds: Sequence[Sequence[Pair]], known: Agreements) -> Row:
    """Means over seeds of means over the pairs that have a value; None if no pair has."""
    by_seed = [list(zip(*map(known.pairs.__getitem__, pairs), strict=True)) for pairs in seeds]
    row: Row = {}
    for column in _MEANS:
        place = Agreement._fields.index(column)
        row[column] = _mean([mean for each in by_seed if (mean := _mean(each[place])) is not None])
    return row


def _mean(values: Sequence[float]) -> float | None:
    """Mean of the values that are numbers; None without any."""
    if math.isnan(sum(values)):
        values = [value for value in values if not math.isnan(value)]
    return sum(values) / len(values) if values else None


def _guided(all_cells: Sequence[Cell]) -> Iterator[_Learners]:
    """Guided conditions, rivals and controls; a rival has no guide to be compared with."""
    groups = cells.grouped(all_cells)
    for cell in all_cells:
        members = cell.members.values()
        baselines = [member.baseline_id for member in members]
        guides = [member.guide_id for member in members]
        alone = cell.condition.is_rival
        others: dict[str, Replicates] = {} if alone else {"guide": guides, "other_guide": guides}
        others |= {"baseline": baselines, "other_baseline": baselines}
        if cell.condition.is_control:
            guided = cells.guided_of(cell, groups[cell.condition.group])
            others["control"] = _paired(cell, guided)
        yield _Learners(
            condition=cell.condition._asdict(),
            ids=[member.replicate_id for member in members],
            others=others,
            baselines=() if alone else baselines,
        )


def _paired(control: Cell, guided: Cell | None) -> Replicates:
    """Guided replicates at the seeds of a control."""
    members = {} if guided is None else guided.members
    return [
        members[baseline].replicate_id if baseline in members else None
        for baseline in control.members
    ]


def _references(all_cells: Sequence[Cell], replicates: pd.DataFrame) -> Iterator[_Learners]:
    """Baselines with guides and with each other, guides with each other."""
    with_guide: dict[tuple[object, ...], dict[str, str | None]] = {}
    names = ("study", "task", "target", "guide")
    for cell in all_cells:
        if cell.condition.is_rival:
            continue
        key = tuple(getattr(cell.condition, name) for name in names)
        pairs = with_guide.setdefault(key, {})
        pairs |= {member.baseline_id: member.guide_id for member in cell.members.values()}
    for key, pairs in with_guide.items():
        guides = list(pairs.values())
        yield _Learners(
            condition=dict(zip(names, key, strict=True)),
            ids=list(pairs),
            others={"guide": guides, "other_guide": guides},
        )
    for role, other in ((Role.baseline, "other_baseline"), (Role.guide, "other_guide")):
        yield from _alone(replicates[replicates["role"] == role], other)


def _alone(replicates: pd.DataFrame, other: str) -> Iterator[_Learners]:
    """Conditions without guidance, each compared with itself at other seeds."""
    found: dict[tuple[object, ...], list[str]] = {}
    for row in records(replicates):
        key = tuple(row[column] for column in CONDITION_COLUMNS)
        found.setdefault(key, []).append(row["replicate_id"])
    for key, ids in found.items():
        condition = dict(zip(CONDITION_COLUMNS, key, strict=True))
        yield _Learners(condition=condition, ids=ids, others={other: ids})
