"""The `guide_similarity` table: do guides that are alike inside also hand over alike?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist, squareform

from analysis import cells
from analysis.cells import Cell, Metric, TaskMetrics
from analysis.contract import GUIDE_MOMENTS, IN_TRAINING
from analysis.schema import frame_of, schema
from analysis.statistics import Values, finite

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, object]
#: Most permutations of guides in a Mantel test; where there are fewer, all are used.
PERMUTATIONS = 10_000
#: Bootstrap draws of seeds for the support of clusters.
DRAWS = 1000
#: Seed of the permutations and of the draws.
SEED = 1967

#: (replicate, guide's replicate, guide's moment) to target tap to the similarity of the best tap.
_Profiles = Mapping[tuple[str, str, str], Mapping[str, float]]


def guide_similarity_table(
    replicates: pd.DataFrame, alignment: pd.DataFrame, tasks: Mapping[str, TaskMetrics]
) -> pd.DataFrame:
    """One row for each pair of guides of a task, state, distance, mapping and schedule.

    On the task's primary metric. Guides are compared by their rows of the transfer matrix, over the
    targets that all of them guided, and by how similar the taps of trained baselines are to theirs.
    Mantel's test (1967, Cancer Res. 27) asks whether the two agree; a hierarchical clustering of
    the rows (average linkage) comes with the bootstrap support of its clusters over seeds
    (Felsenstein 1985, Evolution 39).

    Args:
        replicates: the `replicates` table, a row for each planned replicate in each of its places.
        alignment: the `alignment` table.
        tasks: task label to its metrics.

    Raises ValueError when a condition holds a seed twice or its task is not in `tasks`.
    """
    metrics = cells.metric_values(replicates, tasks)
    seeds = dict(zip(replicates["replicate_id"], replicates["seed"], strict=True))
    profiles = _profiles(alignment)
    rows: list[Row] = []
    for group in cells.guided_groups(cells.cells(replicates)):
        first = next(iter(group.values())).condition
        block = _Block(group, metrics[first.task][0], seeds, profiles)
        rows += block.rows()
    return frame_of(rows, schema("guide_similarity"))


def _profiles(alignment: pd.DataFrame) -> _Profiles:
    """Similarity of each target tap of each trained network to the guide's most similar tap."""
    chosen = alignment[(alignment["moment"] == "final") & alignment["similarity"].notna()]
    # Guided replicates also hold what was measured in training, on fewer examples.
    chosen = chosen[~chosen["measure"].str.contains(IN_TRAINING, regex=False)]
    keys = ["replicate_id", "guide_id", "guide_moment", "target_tap"]
    best = chosen.groupby(keys, sort=False)["similarity"].max().reset_index()
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    texts = (best[key].astype(str) for key in keys)
    for replicate, guide, moment, tap, value in zip(
        *texts, best["similarity"].to_numpy(dtype=float), strict=True
    ):
        found.setdefault((replicate, guide, moment), {})[tap] = float(value)
    return found


class _Clusters(NamedTuple):
    """A hierarchical clustering: the members of each merge, and its height."""

    members: list[frozenset[int]]
    heights: Values

    @classmethod
    def of(cls, distances: Values) -> _Clusters:
        """Average linkage of condensed distances."""
        merges = hierarchy.linkage(distances, "average")
        sets = [frozenset([leaf]) for leaf in range(len(merges) + 1)]
        for left, right, *_ in merges:
            sets.append(sets[int(left)] | sets[int(right)])
        return cls(sets[len(merges) + 1 :], merges[:, 2])

    def joining(self, *pair: int) -> int:
        """Number of the merge at which the pair joins."""
        return next(k for k, members in enumerate(self.members) if members.issuperset(pair))


@dataclass(frozen=True, eq=False)
class _Block:
    """G guides and T targets that share everything else: a transfer matrix."""

    cells: Mapping[tuple[str, str], Cell]
    metric: Metric
    seeds: Mapping[str, int]
    profiles: _Profiles

    def rows(self) -> list[Row]:
        """A row for each pair of guides."""
        guides = list(dict.fromkeys(guide for guide, _ in self.cells))
        if len(guides) < 2:
            return []
        by_seed, targets = self._by_seed(guides)
        matrix = np.array([[np.mean(list(by_seed[g, t].values())) for t in targets]
                           for g in guides])  # fmt: skip
        transfer = _root_mean_square(matrix) if len(targets) > 1 else None
        inside = self._alignment_distances(guides)
        shared = {
            "guides": len(guides),
            "targets": len(targets),
            **_mantel(transfer, inside, len(guides)),
        }
        draws, n = self._resampled(by_seed, guides, targets)
        clusters = _clustered(transfer, draws, guides)
        numbers = {"transfer_distance": transfer, "alignment_distance": inside,
                   "transfer_correlation": _correlations(matrix)}  # fmt: skip
        rows: list[Row] = []
        for index, (i, j) in enumerate(combinations(range(len(guides)), 2)):
            found = {name: None if v is None else finite(v[index]) for name, v in numbers.items()}
            rows.append(self._described(guides[i], guides[j]) | shared | found
                        | (clusters[index] if clusters else {}) | {"n": n})  # fmt: skip
        return rows

    def _described(self, guide: str, other: str) -> Row:
        condition = next(iter(self.cells.values())).condition._asdict()
        return {
            **condition, "target": None, "guide": guide, "other_guide": other,
            "metric": self.metric.name, "higher_is_better": self.metric.higher_is_better,
        }  # fmt: skip

    def _by_seed(
        self, guides: Sequence[str]
    ) -> tuple[dict[tuple[str, str], dict[int, float]], list[str]]:
        """Differences by seed, positive is better, and the targets that all guides have."""
        sign = 1 if self.metric.higher_is_better else -1
        found: dict[tuple[str, str], dict[int, float]] = {}
        for key, cell in self.cells.items():
            shared = self.metric.shared(cell)
            values = sign * (self.metric.of(cell, shared) - self.metric.at(shared))
            ids = [cell.members[baseline].replicate_id for baseline in shared]
            found[key] = dict(zip((self.seeds[i] for i in ids), values.tolist(), strict=True))
        targets = dict.fromkeys(target for _, target in self.cells)
        return found, [t for t in targets if all(found.get((g, t)) for g in guides)]

    def _alignment_distances(self, guides: Sequence[str]) -> Values | None:
        """Condensed distances of the guides' profiles; None where they have none in common."""
        profiles = [self._profile(guide) for guide in guides]
        shared = [key for key in profiles[0] if all(key in profile for profile in profiles)]
        if not shared or not all(profiles):
            return None
        return _root_mean_square(np.array([[each[key] for key in shared] for each in profiles]))

    def _profile(self, guide: str) -> dict[tuple[str, str], float]:
        """Similarity by target and target tap, mean over seeds."""
        values: dict[tuple[str, str], list[float]] = {}
        for (name, target), cell in self.cells.items():
            if name != guide:
                continue
            moment = GUIDE_MOMENTS.get(str(cell.condition.state), "")
            for member in cell.members.values():
                key = (member.baseline_id, str(member.guide_id), moment)
                for tap, value in self.profiles.get(key, {}).items():
                    values.setdefault((target, tap), []).append(value)
        return {key: float(np.mean(each)) for key, each in values.items()}

    def _resampled(
        self,
        by_seed: Mapping[tuple[str, str], Mapping[int, float]],
        guides: Sequence[str],
        targets: Sequence[str],
    ) -> tuple[Values | None, int]:
        """Transfer matrices `(draws, G, T)` of resampled seeds, and the number of seeds.

        None with fewer than 3 seeds at which everything finished.
        """
        sets = [set(by_seed[guide, target]) for guide in guides for target in targets]
        seeds = sorted(set.intersection(*sets)) if sets else []
        if len(seeds) < 3:
            return None, len(seeds)
        values = np.array([[[by_seed[g, t][k] for k in seeds] for t in targets] for g in guides])
        chosen = np.random.default_rng(SEED).integers(len(seeds), size=(DRAWS, len(seeds)))
        return np.moveaxis(values[:, :, chosen].mean(-1), 2, 0), len(seeds)


def _root_mean_square(rows: Values) -> Values:
    """Condensed distances of rows `(G, columns)`."""
    distances: Values = pdist(rows) / np.sqrt(rows.shape[1])
    return distances


def _correlations(rows: Values) -> Values | None:
    """Condensed correlations of rows; None with fewer than 3 columns, NaN of constant rows."""
    if rows.shape[1] < 3:
        return None
    varies = np.ptp(rows, axis=1) > 0
    found = np.full((len(rows), len(rows)), np.nan)
    found[np.ix_(varies, varies)] = np.corrcoef(rows[varies]) if varies.any() else np.nan
    condensed: Values = found[np.triu_indices(len(rows), 1)]
    return condensed


def _mantel(first: Values | None, second: Values | None, num_guides: int) -> Row:
    """Mantel's r of two condensed distance matrices, and its one-sided permutation p."""
    if first is None or second is None or num_guides < 3 or not (np.ptp(first) and np.ptp(second)):
        return {}
    matrix, left, right = squareform(first), *np.triu_indices(num_guides, 1)
    fixed = (second - second.mean()) / np.linalg.norm(second - second.mean())

    def correlation(guides: Values, axis: int = -1) -> Values:
        order = np.moveaxis(guides, axis, -1).astype(np.intp)
        permuted = matrix[order[..., left], order[..., right]]
        # A permutation changes neither mean nor norm.
        result: Values = permuted @ fixed / np.linalg.norm(first - first.mean())
        return result

    test = stats.permutation_test(
        (np.arange(num_guides),), correlation, permutation_type="pairings", vectorized=True,
        alternative="greater", n_resamples=PERMUTATIONS, batch=1000,
        rng=np.random.default_rng(SEED),
    )  # fmt: skip
    return {
        "mantel": float(test.statistic),
        "mantel_p": float(test.pvalue),
        "permutations": len(test.null_distribution),
    }


def _clustered(
    distances: Values | None, draws: Values | None, guides: Sequence[str]
) -> list[Row] | None:
    """Columns on clusters for each pair of guides; None with fewer than 3 guides."""
    if distances is None or len(guides) < 3:
        return None
    clusters = _Clusters.of(distances)
    support: list[float | None] = [None] * len(clusters.members)
    if draws is not None:
        again = [set(_Clusters.of(_root_mean_square(rows)).members) for rows in draws]
        support = [float(np.mean([each in a for a in again])) for each in clusters.members]
    rows: list[Row] = []
    for i, j in combinations(range(len(guides)), 2):
        merge = clusters.joining(i, j)
        rows.append({
            "cophenetic_distance": float(clusters.heights[merge]),
            "cluster": " | ".join(guides[k] for k in sorted(clusters.members[merge])),
            "cluster_support": support[merge],
        })  # fmt: skip
    return rows
