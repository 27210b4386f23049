"""Alignment of any two finished replicates of one task: every tap with every tap, any measure.

A guided run records how similar target and guide are. This module computes the same for pairs that
were not trained together: a baseline and a guide, two seeds, a network before and after training.
Nothing is trained, and only the resulting table is stored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from trainers import measures
from trainers.comparison.rows_file import Rows, RowsFile
from trainers.comparison.sides import Moment, Side, SideFeatures, Sides, Taps
from trainers.errors import UserError
from trainers.measures import MEASURES, Comparison, Measure, ProductAccumulator
from trainers.measures.minibatch_cka import CKAAccumulator
from trainers.registry import Component
from trainers.runtime.streams import isolated
from trainers.store.folder import digest
from trainers.store.store import Store
from trainers.store.tables import ALIGNMENT
from trainers.tasks import TASKS, Task
from trainers.training.evaluation import natural_rows

SplitName = Literal["train", "validation", "test"]

#: Raised whenever the same measure of the same networks gives other numbers.
VERSION = 4
#: Most rows of a measure that needs all of them at once: their n x n matrices are 32 MB each.
MAX_ROWS = 2000
#: Most memory for the features of those rows.
FEATURE_BYTES = 2**30
#: Most memory for the sums of a measure that is accumulated over batches.
SUM_BYTES = 2**29
#: Most memory for the Gram matrices of all taps.
GRAM_BYTES = 2**31
#: Fewest networks with which a network is compared in a study; each side is prepared once.
PAIRS_EACH = 2

_UNBIASED = Component("linear_cka", (("unbiased", True),))


def align(
    store: str | os.PathLike[str],
    target_id: str,
    guide_id: str,
    *,
    measure: str | Component = _UNBIASED,
    split: SplitName = "test",
    moment: Moment = "final",
    guide_moment: Moment = "final",
    guide_seed: int | None = None,
    sides: Sides | None = None,
) -> Rows:
    """Similarity of each tap of one finished replicate to each tap of another, one row per pair.

    Rows have the columns of the table `alignment`; `replicate_id` and `moment` are the target's.
    Either side may be taken at its initial weights, which follow from its condition and seed. The
    initial weights of a replicate of role `guide` are the untrained guide of that seed, its batch
    norm calibrated; a pretrained guide has no seed and takes `guide_seed`. A symmetric measure
    gives the same similarities with the ids exchanged, taps exchanged too.

    The whole split is used if the measure can be accumulated over batches, or if the split has at
    most `MAX_ROWS` rows and their features fit in memory. Otherwise evenly spaced examples are, and
    `n` is the number of their rows; unbiased linear CKA is then estimated from sums of unbiased
    HSIC over batches (Nguyen et al. 2020), labelled `estimator=batches`.

    The table is stored, and read from the store by later calls.

    Args:
        store: folder or bucket URI that has both replicates.
        target_id: id of the replicate whose taps are the columns of a map.
        guide_id: id of the replicate whose taps are its rows.
        measure: name of a registered measure, or one with options; by default unbiased linear CKA.
        split: "train", "validation" or "test".
        moment: the target's weights: `initial` or `final`.
        guide_moment: the guide's weights, likewise.
        guide_seed: seed of a pretrained guide, which has none of its own.
        sides: networks of earlier calls; calls with the same load a network, and compute its
            features, once.

    Raises FileNotFoundError if a replicate is not finished, CorruptError if its files are damaged,
    and UserError if the two are not of one task or the measure is not defined for a tap's shape.
    """
    table = AlignmentTable.of(
        store, target_id, guide_id, measure, split, moment, guide_moment, guide_seed
    )
    rows = table.file.read()
    return table.compute(Sides() if sides is None else sides) if rows is None else rows


def stored(
    store: str | os.PathLike[str],
    target_id: str,
    guide_id: str,
    *,
    measure: str | Component = _UNBIASED,
    split: SplitName = "test",
    moment: Moment = "final",
    guide_moment: Moment = "final",
    guide_seed: int | None = None,
) -> Rows | None:
    """Rows that an earlier `align` stored, or None; computes nothing. Raises as `align` does."""
    table = AlignmentTable.of(
        store, target_id, guide_id, measure, split, moment, guide_moment, guide_seed
    )
    return table.file.read()


@dataclass(frozen=True)
class AlignmentTable:
    """A table of similarities: its measure, split and sides, and the file that stores it.

    `of` takes the arguments of `align`.
    """

    measure: Component
    task: Task
    split: str
    target: Side
    guide: Side
    file: RowsFile

    @classmethod
    def of(
        cls,
        store: str | os.PathLike[str],
        target_id: str,
        guide_id: str,
        measure: str | Component = _UNBIASED,
        split: str = "test",
        moment: Moment = "final",
        guide_moment: Moment = "final",
        guide_seed: int | None = None,
    ) -> AlignmentTable:
        """The table of two replicates; raises as `align` does."""
        opened = Store(store)
        component = MEASURES.component(measure) if isinstance(measure, str) else measure
        target = Side.of(opened, target_id, moment)
        guide = Side.of(opened, guide_id, guide_moment, guide_seed)
        folder = opened.root / "alignments" / f"{target_id}-{guide_id}"
        file = RowsFile(folder, _file_name(component, split, (target, guide)), ALIGNMENT)
        return cls(component, _common_task(target, guide), split, target, guide, file)

    def compute(self, sides: Sides) -> Rows:
        """Compute the rows and store them."""
        return self.file.write(_rows(self, sides))


def _common_task(target: Side, guide: Side) -> Task:
    target_task, guide_task = target.condition.task, guide.condition.task
    if target_task != guide_task:
        raise UserError(
            f"replicates of different tasks have no examples in common: {target.id} is of "
            f"{TASKS.label(target_task)}, {guide.id} of {TASKS.label(guide_task)}"
        )
    if target.task.data_seed != guide.task.data_seed:
        raise UserError(
            f"replicates with data of their own seeds have no examples in common: {target.id} has "
            f"data seed {target.task.data_seed}, {guide.id} {guide.task.data_seed}"
        )
    return target.task


def _file_name(measure: Component, split: str, sides: Sequence[Side]) -> str:
    entry = MEASURES[measure.name]
    content = [VERSION, entry.version, measure.name, measure.options, split]
    if entry.origin is not None:
        content.append(entry.origin.digest)
    content += [side.identity for side in sides]
    content += [seed for side in sides for seed in side.own_seed]
    if any(side.has_rivals_start for side in sides):
        # Before, these were of the network as its architecture initialises it.
        content.append("start of the rival")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"{measure.name}-{sides[0].moment}-{digest(text.encode())[:16]}.parquet"


def _rows(table: AlignmentTable, sides: Sides) -> list[dict[str, Any]]:
    target = table.target
    with isolated(1):
        rows = natural_rows(table.task)
        pair = _Pair(*(sides.features(side, table.split) for side in (target, table.guide)))
        label, n, compared = _compare(table.measure, pair)
    facts: dict[str, Any] = {"replicate_id": target.id, "moment": target.moment}
    facts |= {"measure": label, "rows": rows, "n": n}
    return [
        facts | {"guide_tap": guide_tap, "target_tap": target_tap} | comparison._asdict()
        for (guide_tap, target_tap), comparison in compared.items()
    ]


class _Pair(NamedTuple):
    """Two networks on the same inputs."""

    target: SideFeatures
    guide: SideFeatures

    def batches(self) -> Iterator[tuple[Taps, Taps]]:
        """Target and guide features of all inputs, batch by batch."""
        return zip(self.target.batches(), self.guide.batches(), strict=True)


_Table = dict[tuple[str, str], Comparison]


def _compare(component: Component, pair: _Pair) -> tuple[str, int, _Table]:
    """Label of the measure, number of rows, and a comparison by guide tap and target tap."""
    measure, label = measures.build(component), MEASURES.label(component)
    target_widths, guide_widths = pair.target.widths, pair.guide.widths
    num_inputs = len(pair.target.inputs)
    if measure.from_grams and grams_cost_less(target_widths, guide_widths, pair.target.num_rows):
        return label, *_from_rows(measure, label, pair, num_inputs, in_grams=True)
    if measure.from_sums and ProductAccumulator.nbytes(target_widths, guide_widths) <= SUM_BYTES:
        return label, *_from_sums(measure, pair)
    row_bytes = 4 * (sum(target_widths) + sum(guide_widths))
    num_rows = min(MAX_ROWS, FEATURE_BYTES // row_bytes)
    num_examples = min(num_inputs, max(1, num_rows // pair.target.rows_each))
    if num_examples < num_inputs and measure.from_hsic:
        return MEASURES.label(component, estimator="batches"), *_from_hsic(pair)
    return label, *_from_rows(measure, label, pair, num_examples)


def grams_cost_less(target: Sequence[int], guide: Sequence[int], n: int) -> bool:
    """Whether n x n Gram matrices of n rows cost less than products of features.

    `target` and `guide` are widths of taps. Gram matrices cost less for many wide taps, because one
    is computed once per tap, and a product of features once per pair. False if the matrices or the
    features would not fit in memory.
    """
    taps, width = len(target) + len(guide), sum(target) + sum(guide)
    if n > MAX_ROWS or 4 * n * width > FEATURE_BYTES or 8 * n * n * taps > GRAM_BYTES:
        return False
    grams = n * (width / PAIRS_EACH + len(target) * len(guide))
    products = sum(target) * sum(guide) + sum(p * p for p in (*target, *guide))
    return grams < products


def _from_sums(measure: Measure, pair: _Pair) -> tuple[int, _Table]:
    sums = ProductAccumulator(measure)
    for target, guide in pair.batches():
        sums.update(target, guide)
    return sums.num_rows, sums.comparisons()


def _from_hsic(pair: _Pair) -> tuple[int, _Table]:
    sums = CKAAccumulator()
    for target, guide in pair.batches():
        sums.update(target, guide)
    similarity = sums.similarity().tolist()
    table = {
        (guide, target): Comparison(
            similarity[i][j], sums.target_collapsed[target], sums.guide_collapsed[guide]
        )
        for i, guide in enumerate(sums.guide_taps)
        for j, target in enumerate(sums.target_taps)
    }
    return sums.num_rows, table


def _from_rows(
    measure: Measure, label: str, pair: _Pair, num_examples: int, *, in_grams: bool = False
) -> tuple[int, _Table]:
    targets, guides = (
        side.prepared(measure, label, num_examples, in_grams=in_grams) for side in pair
    )
    table = {
        (guide_tap, target_tap): measure.compare(target, guide)
        for guide_tap, guide in guides.items()
        for target_tap, target in targets.items()
    }
    num_rows: int = next(iter(targets.values())).shape[0]
    return num_rows, table
