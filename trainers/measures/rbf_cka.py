"""CKA of Gaussian kernels, their bandwidth a fraction of the median distance of the rows."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from trainers.measures import Measure, register
from trainers.measures._features import Features
from trainers.measures._kernels import squared_distances, unit_gram, upper


@register(
    "rbf_cka",
    invariances=("rotation", "scale", "mean"),
    cost="n^2 (p + q)",
    bias="biased: independent features come out similar, the more the smaller `bandwidth` and the "
    "wider they are, where all distances are nearly the same; unbiased: about 0",
    source="Kornblith et al. 2019, Similarity of Neural Network Representations Revisited",
)
class RBFCKA(Measure):
    """CKA of the kernels exp(-d^2 / (2 s^2)), s = `bandwidth` x the median distance of two rows.

    `median` pairs: of all pairs of different rows, the mean of the two in the middle where they are
    an even number. `median` matrix: from the median of all n x n squared distances, as in the
    notebook published by Kornblith et al.; the zeros of the diagonal make it a little smaller.
    `unbiased` needs n >= 4. Collapsed: a side where so many rows coincide that the median is 0, or
    (`unbiased`) whose rows are all equally far from each other.
    """

    def __init__(
        self,
        *,
        bandwidth: float = 1.0,
        median: Literal["pairs", "matrix"] = "pairs",
        unbiased: bool = False,
    ) -> None:
        if not bandwidth > 0:
            raise ValueError(f"measure rbf_cka: bandwidth is {bandwidth}; allowed: above 0")
        self.bandwidth, self.median, self.unbiased = bandwidth, median, unbiased
        self.min_rows = 4 if unbiased else 2

    def view(self, features: Features) -> Tensor | None:
        """The centred kernel with norm 1."""
        squared = squared_distances(features.centred)
        if self.median == "pairs":
            middle = median(upper(squared).sqrt_()) ** 2
        else:
            middle = median(squared.flatten())
        if middle == 0:
            return None
        # K - 1, of which centring leaves as much as of K: wide bandwidths lose no digits.
        kernel = torch.expm1(squared / (-2 * self.bandwidth**2 * middle))
        return unit_gram(kernel, self.unbiased, features.noise)

    def similarity(self, target: Tensor, guide: Tensor) -> float:
        """Inner product of the kernels."""
        return float((target * guide).sum())


def median(values: Tensor) -> float:
    """The median; `torch.median` is the lower of two in the middle."""
    count = len(values)
    low = torch.kthvalue(values, (count + 1) // 2).values
    high = low if count % 2 else torch.kthvalue(values, count // 2 + 1).values
    return float((low + high) / 2)
