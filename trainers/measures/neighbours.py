"""Agreement of nearest neighbours: mutual k-NN, and CKA restricted to them (CKNNA).

Rows are divided by their length, and neighbours are those of the largest inner product, as in
Huh et al. 2024. With u the normalised rows, the inner products less their mean over j,

    c_ij = <u_i, u_j> - mean_l <u_i, u_l> = <u_i, u_j - mean_l u_l>,

order the neighbours of i in the same way; in the last form they also distinguish rows that lie
close together around a large mean. Neighbours equally near up to rounding are in the order of rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.measures import Measure, register
from trainers.measures._features import Features
from trainers.measures._kernels import settled

_SOURCE = "Huh et al. 2024, The Platonic Representation Hypothesis"


class _Neighbours(Measure):
    def __init__(self, *, k: int = 10) -> None:
        if k < 1:
            raise ValueError(f"k, the number of neighbours, is {k}; allowed: 1 or more")
        self.k = k
        self.min_rows = k + 2

    def products(self, features: Features) -> Tensor | None:
        """Products `c` (n, n) with a diagonal of 0; None if all rows have the same direction."""
        lengths = torch.linalg.vector_norm(features.raw, dim=1, keepdim=True)
        rows = features.raw / lengths.masked_fill(lengths == 0, 1.0)
        centred = rows - rows.mean(0)
        if bool(centred.square().sum() <= features.noise**2 * rows.square().sum()):
            return None
        products: Tensor = rows @ centred.T
        return products.fill_diagonal_(0.0)

    def nearest(self, products: Tensor) -> Tensor:
        """Mask (n, n): whether row j is one of the k nearest neighbours of row i."""
        order = settled(products).fill_diagonal_(-torch.inf)
        first = order.argsort(dim=1, descending=True, stable=True)[:, : self.k]
        return torch.zeros_like(products, dtype=torch.bool).scatter_(1, first, True)


@register(
    "mutual_knn",
    invariances=("rotation", "scale"),
    cost="n^2 (p + q) + n^2 log n",
    bias="k / (n - 1) for features that have nothing in common",
    source=_SOURCE,
)
class MutualKNN(_Neighbours):
    """Share of the k nearest neighbours of a row that are the same on both sides, over all rows."""

    def view(self, features: Features) -> Tensor | None:
        """Mask (n, n) of nearest neighbours; None if all rows have the same direction."""
        products = self.products(features)
        return None if products is None else self.nearest(products)

    def similarity(self, target: Tensor, guide: Tensor) -> float:
        """Share of neighbours that both sides have in common."""
        return int((target & guide).sum()) / (self.k * len(target))


@register(
    "cknna",
    invariances=("rotation", "scale"),
    cost="n^2 (p + q) + n^2 log n",
    bias="about k / (n - 1) for features that have nothing in common: what is no neighbour on both "
    "sides counts 0",
    source=_SOURCE,
)
class CKNNA(_Neighbours):
    """CKA that counts only pairs of rows which are among the k nearest neighbours on both sides.

    The paper's definition: the sum over i and over common neighbours j of i of the products of both
    sides' c_ij, divided by the root of the product of each side's sum of squared c_ij over its own
    neighbours. The code published with the paper differs: it centres after it masks.
    """

    def view(self, features: Features) -> Tensor | None:
        """Products `c` (n, n) of neighbours, else 0, with norm 1; None if all of them are 0."""
        products = self.products(features)
        if products is None:
            return None
        near = products.masked_fill(~self.nearest(products), 0.0)
        norm = torch.linalg.vector_norm(near)
        return None if norm == 0 else near / norm

    def similarity(self, target: Tensor, guide: Tensor) -> float:
        """Inner product of two views."""
        return float((target * guide).sum())
