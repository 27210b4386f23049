"""Centred kernel alignment (CKA) of Gaussian kernels, biased and unbiased.

With squared distances `d_ij^2` between the rows of one side, and `m^2` their median,

    K_ij = exp(-d_ij^2 / (2 (bandwidth m)^2)),    similarity = <P(K), P(L)> / (|P(K)| |P(L)|)

in Frobenius norm, `L` the same of the guide (Kornblith et al. 2019, section 3 and equation 5).
`P` centres rows and columns, or U-centres them (`unbiased`: Song et al. 2012, equation 5).

`median` pairs: the median distance of all pairs of different rows; for an even number of pairs, the
mean of the two middle ones. `median` matrix: from the median of all n x n squared distances, as in
the notebook published by Kornblith et al., whose figures it reproduces; the n zeros of the diagonal
make it a little smaller. The gradient includes the median: if it were held constant, the distance
would still be invariant to scale, but its gradient would change the scale.

Accuracy: `K - 1` is computed, whose projection is the same, so that wide bandwidths lose no digits.
Median distances below 2e-3 (float32) of the root mean square distance are rounding.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from trainers.distances import register
from trainers.distances._centring import centred_in_range, rounding
from trainers.distances._grams import centre, squared_distances, u_centre
from trainers.distances._profiles import ProfileDistance, unit, vanishes

#: Range of bandwidths: outside it a kernel in float32 is the identity, or linear.
_BANDWIDTHS = (1e-3, 1e3)


@register(
    "rbf_cka",
    invariances=("rotation", "scale", "mean"),
    cost="n^2 (p + q)",
    source="Kornblith et al. 2019, Similarity of Neural Network Representations Revisited",
    bias="biased, more for smaller bandwidths: independent features of width w give .23 at n 64, "
    "w 128; .04 at n 64, w 1024; .13 at n 256, w 1024, not 1. Unbiased: 1 within .1",
)
class RBFCKA(ProfileDistance):
    """1 - CKA of Gaussian kernels; 0 for features that agree up to rotation, scale and mean.

    `bandwidth` is a fraction of the median distance between rows: small ones compare near
    neighbours only, and from about 10 on it is linear CKA. `unbiased` may exceed 1 and needs
    n >= 4. If a side has no variance, if half of its pairs of rows or more are equal (the median is
    0), or for `unbiased` if all pairs are equally far apart, the distance is exactly 1 and the
    gradient exactly 0. Raises ValueError for a bandwidth outside .001 to 1000.
    """

    # Any two rows have the same shape, up to rotation, scale and mean.
    min_guiding_rows = 3

    def __init__(
        self,
        *,
        bandwidth: float = 1.0,
        median: Literal["pairs", "matrix"] = "pairs",
        unbiased: bool = False,
    ) -> None:
        low, high = _BANDWIDTHS
        if not low <= bandwidth <= high:
            raise ValueError(f"rbf_cka: bandwidth is {bandwidth}; allowed: {low:g} to {high:g}")
        self.bandwidth = bandwidth
        self.median = median
        self.unbiased = unbiased
        self.min_rows = 4 if unbiased else 2

    def profile(self, features: Tensor, noise: float = 0.0) -> Tensor:
        """The centred kernel matrix (..., n * n) of features (..., n, p), of norm 1."""
        centred, constant = centred_in_range(features)
        squares = squared_distances(centred.features, constant).clamp(min=0)
        median, none = self._squared_median(squares)
        constant = constant | none
        kernel = torch.expm1(-squares / (2 * self.bandwidth**2 * median[..., None, None]))
        projected = (u_centre(kernel) if self.unbiased else centre(kernel)).flatten(-2)
        return unit(projected, constant | vanishes(projected, kernel.flatten(-2), noise))

    def _squared_median(self, squares: Tensor) -> tuple[Tensor, Tensor]:
        """Square (...) of the median of distances, from squared ones; and whether it is 0 (...).

        `squares` are (..., n, n), normalised as by `squared_distances`.
        """
        n = squares.shape[-1]
        if self.median == "matrix":
            middle = ((n * n - 1) // 2, n * n // 2)
        else:
            # In order: n zeros of the diagonal, then every pair twice.
            num_pairs = n * (n - 1) // 2
            middle = (n + 2 * ((num_pairs - 1) // 2), n + 2 * (num_pairs // 2))
        low, high = (squares.flatten(-2).kthvalue(place + 1).values for place in middle)
        # The mean of all squares is 2 / n.
        none = (low if self.median == "pairs" else high) <= rounding(low.dtype) * 2 / n
        if self.median == "matrix":
            return ((low + high) / 2).masked_fill(none, 1.0), none
        return ((low.masked_fill(none, 1).sqrt() + high.masked_fill(none, 1).sqrt()) / 2) ** 2, none
