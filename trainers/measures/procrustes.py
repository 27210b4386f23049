"""Procrustes similarity: how well one side, rotated, lies on the other."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainers.measures import Measure, register
from trainers.measures._features import Features
from trainers.measures._products import Products


@register(
    "procrustes",
    invariances=("rotation", "scale", "mean"),
    cost="n^2 (p + q) + n r s + r s min(r, s), r = min(n, p), s = min(n, q)",
    bias="independent features come out similar, the more the wider they are and the fewer "
    "the rows",
    source="Williams et al. 2021, Generalized Shape Metrics on Neural Representations",
)
class Procrustes(Measure):
    """Cosine of the angular Procrustes distance, which is the normalised Bures similarity.

    |X'Y|_* / (|X| |Y|), the nuclear norm over the Frobenius norms, of features centred over rows.
    """

    from_sums = True

    def view(self, features: Features) -> Tensor:
        """Centred features (n, min(n, p)) with norm 1."""
        return features.rotated() / math.sqrt(features.trace)

    def similarity(self, target: Tensor, guide: Tensor) -> float:
        """Nuclear norm of the product."""
        return float(torch.linalg.svdvals(target.T @ guide).sum())

    def from_products(self, pair: Products) -> float:
        """The same of all rows that were summed up."""
        nuclear = float(torch.linalg.svdvals(pair.cross).sum())
        return nuclear / math.sqrt(pair.target.trace) / math.sqrt(pair.guide.trace)
