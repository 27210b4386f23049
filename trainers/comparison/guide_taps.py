"""Taps of a guide by themselves: how similar each is to the labels, and its effective rank.

Neither needs a target, so both are known before any target is trained.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainers.comparison.rows_file import Rows, RowsFile
from trainers.comparison.sides import Moment, Side, SideFeatures, Sides, Taps
from trainers.controls.labels import LabelSource
from trainers.measures.minibatch_cka import CKAAccumulator, feature_statistics
from trainers.runtime.streams import isolated
from trainers.store.folder import digest
from trainers.store.store import Store
from trainers.store.tables import Columns
from trainers.tasks import Task, is_scored
from trainers.training.evaluation import (
    ALIGNMENT_EXAMPLES,
    as_rows,
    at_positions,
    natural_rows,
)

#: Columns of the rows: `n` rows of features of the guide at `guide_moment`.
GUIDE_TAPS: Columns = {
    "guide_id": "string",
    "guide_moment": "string",
    "tap": "string",
    "rows": "string",
    "n": "int64",
    "label_similarity": "double",
    "effective_rank": "double",
}
#: Raised whenever the same networks give other numbers.
VERSION = 1

_LABELS = "labels"


def describe(
    store: str | os.PathLike[str],
    guide_id: str,
    *,
    guide_moment: Moment = "final",
    guide_seed: int | None = None,
    sides: Sides | None = None,
) -> Rows:
    """Similarity to the labels and effective rank of each tap of a finished replicate.

    Rows have the columns `GUIDE_TAPS`. The similarity is unbiased linear CKA with the labels,
    one-hot or values, the effective rank that of `feature_statistics`. Both are over evenly spaced
    examples of the test split, `ALIGNMENT_EXAMPLES` at most; rows of features are examples, or
    tokens in sequences, and those without a label are left out. The rows are stored, and read from
    the store by later calls.

    Args:
        store: folder or bucket URI that has the replicate.
        guide_id: id of the replicate.
        guide_moment: its weights, `initial` or `final`, as in `align`.
        guide_seed: seed of a pretrained guide, which has none of its own.
        sides: networks of earlier calls, of `align` too.

    Raises FileNotFoundError if the replicate is not finished, CorruptError if its files are
    damaged.
    """
    table = GuideTapTable.of(store, guide_id, guide_moment, guide_seed)
    rows = table.file.read()
    return table.compute(Sides() if sides is None else sides) if rows is None else rows


@dataclass(frozen=True)
class GuideTapTable:
    """A guide at a moment, and the file that stores the rows on its taps."""

    side: Side
    file: RowsFile

    @classmethod
    def of(
        cls,
        store: str | os.PathLike[str],
        guide_id: str,
        guide_moment: Moment = "final",
        guide_seed: int | None = None,
    ) -> GuideTapTable:
        """The table of a replicate; arguments and errors as of `describe`."""
        opened = Store(store)
        side = Side.of(opened, guide_id, guide_moment, guide_seed)
        content = [VERSION, side.identity, side.own_seed]
        name = f"guide_taps-{side.moment}-{digest(json.dumps(content).encode())[:16]}.parquet"
        folder = opened.root / "alignments" / f"{guide_id}-{guide_id}"
        return cls(side, RowsFile(folder, name, GUIDE_TAPS))

    def compute(self, sides: Sides) -> Rows:
        """Compute the rows and store them."""
        return self.file.write(self._rows(sides))

    def _rows(self, sides: Sides) -> list[dict[str, Any]]:
        task = self.side.task
        with isolated(1):
            taps, labels = _labelled(sides.features(self.side, "test"), task)
            sums = CKAAccumulator()
            sums.update({_LABELS: labels}, taps)
            similarities = sums.similarity()[:, 0].tolist()
            ranks = [feature_statistics(features).effective_rank for features in taps.values()]
        facts = {"guide_id": self.side.id, "guide_moment": self.side.moment}
        facts |= {"rows": natural_rows(task)}
        return [
            facts | {"tap": tap, "n": sums.num_rows, "label_similarity": similarity,
                     "effective_rank": rank}
            for tap, similarity, rank in zip(taps, similarities, ranks, strict=True)
        ]  # fmt: skip


def _labelled(features: SideFeatures, task: Task) -> tuple[Taps, Tensor]:
    """Features (n, p) by tap and labels (n, q) of the rows that have a label."""
    total = len(task.test.labels)
    count = min(total, ALIGNMENT_EXAMPLES)
    chosen = torch.arange(count) * total // count
    parts = [_part(features, task, part) for part in torch.split(chosen, task.forward_batch)]
    taps = {tap: torch.cat([part[tap] for part in parts]) for tap in parts[0]}
    return taps, taps.pop(_LABELS)


def _part(features: SideFeatures, task: Task, chosen: Tensor) -> Taps:
    """Features by tap, and the labels as one more, of the labelled rows of some examples."""
    inputs, labels = features.inputs[chosen], task.test.labels[chosen]
    source = LabelSource((_LABELS,), task, "examples", dict)
    scored_labels = is_scored(labels)
    if task.output.num_classes is None:
        # Labels of values have one more dimension, that of the values.
        scored_labels = scored_labels.all(-1)
    columns = dict(source.evaluate(inputs, labels)) | {"scored": scored_labels[..., None]}
    rows = {
        name: as_rows(at_positions(column.float(), task, inputs), task, inputs)
        for name, column in columns.items()
    }
    scored = rows.pop("scored")[:, 0] > 0
    taps = features.features(inputs)
    found = {tap: output[scored.to(output.device)] for tap, output in taps.items()}
    device = next(iter(taps.values())).device
    return found | {_LABELS: rows[_LABELS][scored].to(device)}
