"""CKA of Gaussian kernels, their bandwidth a fraction of the median distance of the rows."""

from __future__ import annotations

from typing import Literal

from trainers.distances import rbf_cka as distance
from trainers.measures import register
from trainers.measures._of_distance import OfDistance


# Version 2: computed by the distance, which changed the last bits.
@register(
    "rbf_cka",
    version=2,
    invariances=("rotation", "scale", "mean"),
    cost="n^2 (p + q)",
    bias="biased: independent features come out similar, the more the smaller `bandwidth` and the "
    "wider they are, where all distances are nearly the same; unbiased: about 0",
    source="Kornblith et al. 2019, Similarity of Neural Network Representations Revisited",
)
class RBFCKA(OfDistance):
    """CKA of the kernels exp(-d^2 / (2 s^2)), s = `bandwidth` x the median distance of two rows.

    1 - the distance of this name, which defines `median`. `unbiased` needs n >= 4. A side has
    collapsed if so many rows coincide that the median is 0, or (`unbiased`) if its rows are all
    equally far from each other.
    """

    def __init__(
        self,
        *,
        bandwidth: float = 1.0,
        median: Literal["pairs", "matrix"] = "pairs",
        unbiased: bool = False,
    ) -> None:
        super().__init__(distance.RBFCKA(bandwidth=bandwidth, median=median, unbiased=unbiased))
