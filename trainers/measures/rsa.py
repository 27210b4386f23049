"""Representational similarity analysis (RSA): correlation of two dissimilarity matrices."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from trainers.distances import rsa as distance
from trainers.distances._profiles import PreparedProfile
from trainers.measures import register
from trainers.measures._features import Features
from trainers.measures._kernels import settled, upper
from trainers.measures._of_distance import OfDistance


# Version 2: computed by the distance, which changed the last bits.
@register(
    "rsa",
    version=2,
    invariances=("scale",),
    cost="n^2 (p + q); compare=spearman sorts n^2 values",
    bias="about 0 with pearson and spearman; with compare=cosine it is near 1 for features that "
    "have nothing in common, because dissimilarities are positive",
    source="Kriegeskorte et al. 2008, Representational similarity analysis",
)
class RSA(OfDistance):
    """Similarity of the strict upper triangles of both sides' dissimilarity matrices (RDMs).

    1 - the distance of this name, which defines `rdm`; `compare` spearman, which has no gradient,
    is the correlation of ranks, ties at their average rank. A side has collapsed if its RDM is
    constant or, compared by cosine, 0.
    """

    distance: distance.RSA

    def __init__(
        self,
        *,
        rdm: Literal["correlation", "cosine", "squared_euclidean"] = "correlation",
        compare: Literal["pearson", "spearman", "cosine"] = "pearson",
    ) -> None:
        self.by_ranks = compare == "spearman"
        by = "pearson" if compare == "spearman" else compare
        super().__init__(distance.RSA(rdm=rdm, compare=by))

    def view(self, features: Features) -> PreparedProfile | None:
        """The dissimilarities, or their ranks, as a vector of norm 1."""
        side: PreparedProfile | None = super().view(features)
        if side is None or not self.by_ranks:
            return side
        dissimilarities, _ = self.distance.dissimilarities(features.raw, features.noise)
        places = ranks(settled(upper(dissimilarities)))
        places -= places.mean()
        norm = torch.linalg.vector_norm(places)
        return None if norm == 0 else PreparedProfile(side.shape, places / norm)


def ranks(values: Tensor) -> Tensor:
    """Ranks from 1 of values (n,); equal values have their average rank."""
    _, where, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    average: Tensor = last - (counts - 1) / 2
    return average[where]
