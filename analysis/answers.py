"""Answers of replicates on the test split of their task: which are right, which agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analysis.replicate_rows import rows_of

if TYPE_CHECKING:
    import pandas as pd

Integers = npt.NDArray[np.integer[Any]]
Booleans = npt.NDArray[np.bool_]
_ASKED = ("example", "position", "label")
_UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Split:
    """Scored answers of a test split: N test examples, or N scored positions of sequences.

    `cluster`: cluster (N,) of each answer, counted from 0. Answers of one cluster are not
    independent: positions of one sequence, pictures made of one digit. Where no replicate tells
    clusters (`tells_clusters`), as those of an older version, each example is one.
    """

    example: Integers
    position: Integers
    label: Integers
    cluster: Integers
    tells_clusters: bool

    def __len__(self) -> int:
        return len(self.label)

    @cached_property
    def num_clusters(self) -> int:
        """Number of clusters."""
        return int(self.cluster.max()) + 1 if len(self) else 0

    @cached_property
    def _order(self) -> npt.NDArray[np.int64] | None:
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
    """Answers by replicate, sorted by example and position.

    What was asked is held once for all replicates that were asked the same, and what a replicate
    chose in as few bytes as its classes need: ten thousand replicates answer millions of times.

    Args:
        parts: rows of the `predictions` table that have a label, all of a replicate in one part.
        tasks: replicate id to the label of its task.
    """

    def __init__(self, parts: Iterable[pd.DataFrame], tasks: Mapping[str, str]) -> None:
        self._predictions: dict[str, Integers] = {}
        found: dict[_Questions, _Asked] = {}
        asked: dict[str, _Asked] = {}
        for part in parts:
            columns = {
                name: part[name].to_numpy(dtype=np.int32, na_value=_UNKNOWN)
                for name in (*_ASKED, "prediction", "cluster")
            }
            for name, rows in rows_of(part["replicate_id"]).items():
                own = _sorted({key: values[rows] for key, values in columns.items()})
                questions = tasks.get(name), tuple(own[key].tobytes() for key in _ASKED)
                if questions not in found:
                    found[questions] = _Asked(own)
                asked[name] = found[questions]
                asked[name].take(own["cluster"])
                self._predictions[name] = _smallest(own["prediction"])
        splits = {each: each.split() for each in found.values()}
        self._splits = {name: splits[each] for name, each in asked.items()}
        #: Whether all replicates tell the clusters of their answers.
        self.all_tell_clusters = all(each.all_tell for each in found.values())

    def split(self, replicate_id: str) -> Split | None:
        """The test split of a replicate; None where it has no predictions.

        Replicates of a task with the same examples, positions and labels get one and the same
        object. It has the clusters of the first of them that tells these.
        """
        return self._splits.get(replicate_id)

    def predictions(self, replicate_id: str) -> Integers:
        """Answers (N,) of a replicate; KeyError where it has none."""
        return self._predictions[replicate_id]

    def correct(self, replicate_id: str) -> Booleans:
        """Whether each answer (N,) is right; KeyError where the replicate has none."""
        right: Booleans = self._splits[replicate_id].label == self._predictions[replicate_id]
        return right


#: Task, and the bytes of examples, positions and labels.
_Questions = tuple[str | None, tuple[bytes, ...]]


class _Asked:
    """Questions to replicates of a task, and the clusters that the first of them tells."""

    def __init__(self, columns: Mapping[str, Integers]) -> None:
        # Copies: a part is not to be held for the sake of one replicate.
        self._columns = {name: columns[name].copy() for name in _ASKED}
        self._cluster: Integers | None = None
        self.all_tell = True

    def take(self, cluster: Integers) -> None:
        """Take the clusters of one of the replicates, which it may not tell."""
        tells = bool((cluster != _UNKNOWN).all())
        self.all_tell &= tells
        if tells and self._cluster is None:
            self._cluster = cluster.copy()

    def split(self) -> Split:
        cluster = self._columns["example"] if self._cluster is None else self._cluster
        # Counted from 0 without gaps.
        counted = np.unique(cluster, return_inverse=True)[1].astype(np.int32)
        tells = self._cluster is not None
        return Split(**self._columns, cluster=counted, tells_clusters=tells)


def _sorted(columns: Mapping[str, Integers]) -> Mapping[str, Integers]:
    """Rows by example, and within it by position; most tables have them so already."""
    example, position = columns["example"], columns["position"]
    step = np.diff(example)
    if ((step > 0) | ((step == 0) & (np.diff(position) > 0))).all():
        return columns
    order = np.lexsort((position, example))
    return {name: values[order] for name, values in columns.items()}


def _smallest(values: Integers) -> Integers:
    """A copy in the smallest type that holds all values."""
    if not len(values):
        return values.astype(np.int8)
    ends = np.min_scalar_type(values.min()), np.min_scalar_type(values.max())
    return values.astype(np.promote_types(*ends))
