"""Alignment of any two finished replicates of one task: every tap with every tap, any measure.

A guided run notes how similar target and guide are. This finds the same for pairs that never met:
a baseline and the guide it was not trained with, two seeds, a trained network and itself before
training. Nothing is trained and nothing but the result is stored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from trainers import measures, tasks
from trainers.compared import Moment, Seen, Side, Taps
from trainers.errors import UserError
from trainers.measures import MEASURES, Comparison, Measure, ProductAccumulator
from trainers.measures.minibatch_cka import CKAAccumulator
from trainers.registry import Component
from trainers.runtime.streams import isolated
from trainers.store.folder import Folder, digest
from trainers.store.store import Store
from trainers.store.tables import ALIGNMENT, read_rows, rows_table
from trainers.tasks import TASKS, Task
from trainers.training.evaluation import natural_rows

SplitName = Literal["train", "validation", "test"]

#: Raised whenever the same measure of the same networks comes out otherwise.
VERSION = 3
#: Most rows of a measure that needs all of them at once: their n x n matrices are 32 MB each.
MAX_ROWS = 2000
#: Most memory for the features of those rows, for sums that stand for all rows, and for one n x n
#: matrix a tap.
FEATURE_BYTES, SUM_BYTES, GRAM_BYTES = 2**30, 2**29, 2**31
#: Others that a network is compared with at least, in a study: what is of one side is made once.
PAIRS_EACH = 2

_UNBIASED = Component("linear_cka", (("unbiased", True),))


__all__ = ["Moment", "align", "kept"]


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
) -> list[dict[str, Any]]:
    """Similarity of each tap of one finished replicate to each tap of another, a row a pair.

    Rows have the columns of `records.ALIGNMENT`: `replicate_id` and `moment` are the target's. Each
    side may be taken at its initial weights, which follow from its condition and seed; those of a
    replicate of role `guide` are the untrained guide of that seed, its batch norm calibrated; a
    pretrained guide has no seed, so `guide_seed` says whose. A symmetric measure gives the same
    similarities with the ids exchanged, taps exchanged too.

    The whole split counts where the measure can be summed up over it, or where it has at most
    `MAX_ROWS` rows and their features fit in memory. Else evenly spaced examples do, and `n` says
    how many rows these are; or, for unbiased linear CKA, sums of unbiased HSIC over batches
    (Nguyen et al. 2020), and the measure's label says `estimator=batches`.

    The table is kept in the store, and read from there the next time. Raises FileNotFoundError
    where a replicate is not finished, CorruptError where its files are damaged, and ValueError
    where the two are not of one task, or the measure is not defined for a tap's shape.
    """
    request = _Request.of(
        store, target_id, guide_id, measure, split, moment, guide_moment, guide_seed
    )
    rows = request.kept()
    return request.compute() if rows is None else rows


def kept(
    store: str | os.PathLike[str],
    target_id: str,
    guide_id: str,
    *,
    measure: str | Component = _UNBIASED,
    split: SplitName = "test",
    moment: Moment = "final",
    guide_moment: Moment = "final",
    guide_seed: int | None = None,
) -> list[dict[str, Any]] | None:
    """What `align` found before, or None; computes nothing. Raises as `align` does."""
    request = _Request.of(
        store, target_id, guide_id, measure, split, moment, guide_moment, guide_seed
    )
    return request.kept()


@dataclass(frozen=True)
class _Request:
    """What is compared, and where the answer is kept."""

    measure: Component
    task: Task
    split: str
    target: Side
    guide: Side
    folder: Folder

    @classmethod
    def of(
        cls,
        store: str | os.PathLike[str],
        target_id: str,
        guide_id: str,
        measure: str | Component,
        split: str,
        moment: Moment,
        guide_moment: Moment,
        guide_seed: int | None,
    ) -> _Request:
        place = Store(store)
        component = MEASURES.component(measure) if isinstance(measure, str) else measure
        target = Side.of(place, target_id, moment)
        guide = Side.of(place, guide_id, guide_moment, guide_seed)
        folder = place.root / "alignments" / f"{target_id}-{guide_id}"
        return cls(component, _common_task(target, guide), split, target, guide, folder)

    @property
    def name(self) -> str:
        """Name of the file that keeps the answer."""
        return _file_name(self.measure, self.split, (self.target, self.guide))

    def kept(self) -> list[dict[str, Any]] | None:
        """The answer of an earlier call; None where there is none, or it is damaged."""
        if not self.folder.exists(self.name):
            return None
        try:
            return read_rows(self.folder.read(self.name), ALIGNMENT)
        except ValueError:
            return None

    def compute(self) -> list[dict[str, Any]]:
        """The answer, kept from now on."""
        rows = _rows(self.measure, self.task, self.split, self.target, self.guide)
        content = rows_table(rows, ALIGNMENT, checksums=True)
        self.folder.write(self.name, content)
        return read_rows(content, ALIGNMENT)


def _common_task(target: Side, guide: Side) -> Task:
    mine, its = target.condition.task, guide.condition.task
    if mine != its:
        raise UserError(
            f"replicates of different tasks have no examples in common: {target.id} is of "
            f"{TASKS.label(mine)}, {guide.id} of {TASKS.label(its)}"
        )
    return tasks.build(mine)


def _file_name(measure: Component, split: str, sides: Sequence[Side]) -> str:
    entry = MEASURES[measure.name]
    content = [VERSION, entry.version, measure.name, measure.options, split]
    if entry.origin is not None:
        content.append(entry.origin.digest)
    content += [[side.id, side.moment, side.weights_digest] for side in sides]
    # Of others the id tells the seed.
    content += [s.seed for s in sides if s.seed is not None and s.condition.weights]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"{measure.name}-{sides[0].moment}-{digest(text.encode())[:16]}.parquet"


def _rows(
    component: Component, task: Task, split: str, target: Side, guide: Side
) -> list[dict[str, Any]]:
    with isolated(1):
        rows = natural_rows(task)
        label, n, table = _compare(component, _Pair(target.on(split), guide.on(split)))
    facts: dict[str, Any] = {"replicate_id": target.id, "moment": target.moment}
    facts |= {"measure": label, "rows": rows, "n": n}
    return [
        facts | {"guide_tap": guide_tap, "target_tap": target_tap} | comparison._asdict()
        for (guide_tap, target_tap), comparison in table.items()
    ]


class _Pair(NamedTuple):
    """Two networks on the same inputs."""

    target: Seen
    guide: Seen

    def batches(self) -> Iterator[tuple[Taps, Taps]]:
        """Features of all inputs, target and guide, batch by batch."""
        return zip(self.target.batches(), self.guide.batches(), strict=True)


_Table = dict[tuple[str, str], Comparison]


def _compare(component: Component, pair: _Pair) -> tuple[str, int, _Table]:
    """The label, the number of rows, and the comparison of each guide tap and target tap."""
    measure, label = measures.build(component), MEASURES.label(component)
    target_widths, guide_widths = pair.target.widths, pair.guide.widths
    num_inputs = len(pair.target.inputs)
    if measure.from_grams and _grams_cost_less(pair):
        return label, *_from_rows(measure, label, pair, num_inputs, in_grams=True)
    if measure.from_sums and ProductAccumulator.nbytes(target_widths, guide_widths) <= SUM_BYTES:
        return label, *_from_sums(measure, pair)
    row_bytes = 4 * (sum(target_widths) + sum(guide_widths))
    num_rows = min(MAX_ROWS, FEATURE_BYTES // row_bytes)
    num_examples = min(num_inputs, max(1, num_rows // pair.target.rows_each))
    if num_examples < num_inputs and measure.from_hsic:
        return MEASURES.label(component, estimator="batches"), *_from_hsic(pair)
    return label, *_from_rows(measure, label, pair, num_examples)


def _grams_cost_less(pair: _Pair) -> bool:
    """Whether the n x n matrix of each tap, of all rows, costs less than products of features.

    Of many wide taps it does: a matrix is made once for all others, products once a pair. Never
    where they, or the rows, would not fit in memory.
    """
    target, guide = pair.target.widths, pair.guide.widths
    n, taps, width = pair.target.num_rows, len(target) + len(guide), sum(target) + sum(guide)
    if n > MAX_ROWS or 4 * n * width > FEATURE_BYTES or 8 * n * n * taps > GRAM_BYTES:
        return False
    grams = n * (width / PAIRS_EACH + len(target) * len(guide))
    own = sum(p * p for p in (*target, *guide))
    products = sum(target) * sum(guide) + own
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
