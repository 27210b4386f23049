"""Representational similarity analysis (RSA): correlation of two dissimilarity matrices."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from trainers.measures import Measure, register
from trainers.measures._features import Features
from trainers.measures._kernels import settled, squared_distances, upper


@register(
    "rsa",
    invariances=("scale",),
    cost="n^2 (p + q); compare=spearman sorts n^2 values",
    bias="about 0 with pearson and spearman; with compare=cosine it is near 1 for features that "
    "have nothing in common, because dissimilarities are positive",
    source="Kriegeskorte et al. 2008, Representational similarity analysis",
)
class RSA(Measure):
    """Agreement of which rows are how dissimilar: of the upper triangles, without the diagonal.

    `rdm`, the dissimilarity of two rows: `correlation` (1 - Pearson correlation over features),
    `cosine` (1 - cosine) or `squared_euclidean`. `compare`: `pearson`, `spearman` (ties get their
    average rank) or `cosine`. `cosine` RDMs are invariant to rotation too, `squared_euclidean` to
    rotation and mean. A row without length (`correlation`: without variance) has dissimilarity 1 to
    others and 0 to such as itself. Collapsed: an RDM that is constant or, compared by
    cosine, 0.
    """

    min_rows = 3

    def __init__(
        self,
        *,
        rdm: Literal["correlation", "cosine", "squared_euclidean"] = "correlation",
        compare: Literal["pearson", "spearman", "cosine"] = "pearson",
    ) -> None:
        self.rdm, self.compare_by = rdm, compare

    def view(self, features: Features) -> Tensor | None:
        """The upper triangle of the RDM, centred unless compared by cosine, with norm 1."""
        values = upper(self._dissimilarities(features))
        if self.compare_by == "spearman":
            values = ranks(settled(values))
        size = torch.linalg.vector_norm(values)
        if self.compare_by != "cosine":
            values = values - values.mean()
        norm = torch.linalg.vector_norm(values)
        return None if bool(norm <= features.noise * size) else values / norm

    def similarity(self, target: Tensor, guide: Tensor) -> float:
        """Cosine of the two triangles."""
        return float(target @ guide)

    def _dissimilarities(self, features: Features) -> Tensor:
        if self.rdm == "squared_euclidean":
            return squared_distances(features.centred)
        rows = features.raw
        if self.rdm == "correlation":
            rows = rows - rows.mean(1, keepdim=True)
        lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        sizes = torch.linalg.vector_norm(features.raw, dim=1, keepdim=True)
        empty = lengths <= features.noise * sizes
        rows = (rows / lengths).masked_fill_(empty, 0.0)
        # 1 - cosine as half a squared distance: where all rows point the same way, less cancels.
        halves = squared_distances(rows - rows.mean(0)) / 2
        halves[empty.squeeze(1)] = 1.0
        halves[:, empty.squeeze(1)] = 1.0
        return halves.masked_fill_(empty & empty.T, 0.0)


def ranks(values: Tensor) -> Tensor:
    """Ranks from 1; equal values get their average rank."""
    _, where, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    average: Tensor = last - (counts - 1) / 2
    return average[where]
