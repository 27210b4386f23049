"""Procrustes similarity: agreement of the two sides after the best rotation."""

from __future__ import annotations

import math

import torch

from trainers.distances import procrustes as distance
from trainers.measures import register
from trainers.measures._of_distance import OfDistance
from trainers.measures._products import Products


# Version 2: computed by the distance, which changed the last bits.
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
        """The similarity of two sides with variance, from products of their centred features."""
        nuclear = float(torch.linalg.svdvals(pair.cross).sum())
        return nuclear / math.sqrt(pair.target.trace) / math.sqrt(pair.guide.trace)
