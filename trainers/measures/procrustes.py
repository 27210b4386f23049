"""Procrustes similarity: how well one side, rotated, lies on the other."""

from __future__ import annotations

import math

import torch

from trainers.distances import procrustes as distance
from trainers.measures import register
from trainers.measures._of_distance import OfDistance
from trainers.measures._products import Products


# Version 2: the numbers of the distance, whose last bits are others.
@register(
    "procrustes",
    version=2,
    invariances=("rotation", "scale", "mean"),
    cost="n p q and a singular value decomposition of min(n, p) x min(n, q)",
    bias="independent features come out similar, the more the wider they are and the fewer "
    "the rows",
    source="Williams et al. 2021, Generalized Shape Metrics on Neural Representations",
)
class Procrustes(OfDistance):
    """Cosine of the angular Procrustes distance, which is the normalised Bures similarity.

    |X'Y|_* / (|X| |Y|), the nuclear norm over the Frobenius norms, of features centred over rows.
    """

    from_sums = True

    def __init__(self) -> None:
        super().__init__(distance.Procrustes())

    def from_products(self, pair: Products) -> float:
        """The same of all rows that were summed up, which are not there to be rotated."""
        nuclear = float(torch.linalg.svdvals(pair.cross).sum())
        return nuclear / math.sqrt(pair.target.trace) / math.sqrt(pair.guide.trace)
