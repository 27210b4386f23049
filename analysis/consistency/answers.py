"""Answers of replicates on the test split of their task: which are right, which agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analysis.replicate_rows import rows_of

if TYPE_CHECKING:
    import pandas as pd

Integers = npt.NDArray[np.signedinteger[Any]]
Booleans = npt.NDArray[np.bool_]
_ASKED = ("example", "position", "label")


@dataclass(frozen=True, eq=False)
class Split:
    """Scored answers of a test split: N test examples, or N scored positions of sequences.

    `cluster`: cluster (N,) of each answer, counted from 0. Answers of one cluster are not
    independent: positions of one sequence, pictures made of one digit.
    """

    example: Integers
    position: Integers
    label: Integers
    cluster: Integers

    def __len__(self) -> int:
        return len(self.label)

    def holds(self, example: Integers, position: Integers, label: Integers) -> bool:
        """Whether these are the same answers, in the same order."""
        return (
            np.array_equal(self.example, example)
            and np.array_equal(self.position, position)
            and np.array_equal(self.label, label)
        )

    @cached_property
    def num_clusters(self) -> int:
        """Number of clusters."""
        return int(self.cluster.max()) + 1 if len(self) else 0

    @cached_property
    def _order(self) -> Integers | None:
        """Answers sorted by cluster; None where each is a cluster of its own, in order."""
        if np.array_equal(self.cluster, np.arange(len(self))):
            return None
        return np.argsort(self.cluster, kind="stable")

    def by_cluster(self, values: Booleans) -> npt.NDArray[np.float32]:
        """Sums over each cluster: from `(P, N)` to `(P, clusters)`."""
        if self._order is None:
            return values.astype(np.float32)
        starts = np.searchsorted(self.cluster[self._order], np.arange(self.num_clusters))
        return np.add.reduceat(values[:, self._order], starts, axis=1, dtype=np.float32)


class Answers:
    """Answers by replicate, from the `predictions` table; columns are not copied.

    Args:
        predictions: the `predictions` table; where no replicate with the same test split has
            clusters, each example is one.
        tasks: replicate id to the label of its task.
    """

    def __init__(self, predictions: pd.DataFrame, tasks: Mapping[str, str]) -> None:
        self._columns = {
            name: predictions[name].to_numpy(dtype=np.int32)
            for name in ("example", "position", "label", "prediction")
        }
        self._columns["cluster"] = predictions["cluster"].to_numpy(dtype=np.int32, na_value=-1)
        self._rows = rows_of(predictions["replicate_id"])
        self._tasks = tasks
        self._splits: dict[str, Split] = {}
        self._known: dict[str, list[Split]] = {}

    def split(self, replicate_id: str) -> Split | None:
        """The test split of a replicate; None where it has no predictions.

        Replicates with the same examples, positions and labels get one and the same object.
        """
        if replicate_id not in self._rows:
            return None
        found = self._splits.get(replicate_id)
        if found is None:
            found = self._splits[replicate_id] = self._find(replicate_id)
        return found

    def predictions(self, replicate_id: str) -> Integers:
        """Answers (N,) of a replicate; KeyError where it has none."""
        return self._columns["prediction"][self._rows[replicate_id]]

    def correct(self, replicate_id: str) -> Booleans:
        """Whether each answer (N,) is right; KeyError where the replicate has none."""
        rows = self._rows[replicate_id]
        right: Booleans = self._columns["label"][rows] == self._columns["prediction"][rows]
        return right

    def _find(self, replicate_id: str) -> Split:
        rows, task = self._rows[replicate_id], self._tasks[replicate_id]
        example, position, label = (self._columns[name][rows] for name in _ASKED)
        known = self._known.setdefault(task, [])
        for split in known:
            if split.holds(example, position, label):
                return split
        # Counted from 0 without gaps.
        cluster = np.unique(self._clusters(replicate_id), return_inverse=True)[1]
        split = Split(example, position, label, cluster.astype(np.int64))
        known.append(split)
        return split

    def _clusters(self, replicate_id: str) -> Integers:
        """Clusters (N,) of a replicate's answers, or of another's that answered the same.

        An older version wrote none; where a study has replicates of both, one that tells is enough.
        """
        asked = [self._columns[name][self._rows[replicate_id]] for name in _ASKED]
        for name in (replicate_id, *self._tasks):
            rows = self._rows.get(name)
            if rows is None or self._tasks[name] != self._tasks[replicate_id]:
                continue
            cluster = self._columns["cluster"][rows]
            others = (self._columns[column][rows] for column in _ASKED)
            if (cluster >= 0).all() and all(map(np.array_equal, asked, others)):
                return cluster
        return asked[0]
