"""Representational similarity analysis (RSA): comparison of dissimilarities of all pairs of rows.

Kriegeskorte et al. 2008. Each side has a representational dissimilarity matrix (RDM) of the rows
`x_i` of its features:

    correlation         1 - Pearson correlation of x_i and x_j, over features
    cosine              1 - cosine of x_i and x_j
    squared_euclidean   |x_i - x_j|^2

The strict upper triangles are compared by their Pearson correlation or their cosine (without
centring). The diagonal, zero in any RDM, would make independent features similar.

Rows without a direction (all features zero or, for `correlation`, equal) have dissimilarity 1 to
all others and 0 to each other, the limit in a dying layer. Other software has NaN.

Precision: the first two are half the squared distance between rows of length 1. These rows are
computed without cancellation as differences from one common unit vector, because the rows of an
untrained deep network differ by about 1e-5, so that their products are all 1 in float32.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from trainers.distances import register
from trainers.distances._centring import Centred, centred_in_range, is_constant, rounding
from trainers.distances._grams import squared_distances
from trainers.distances._profiles import ProfileDistance, unit, vanishes


@register(
    "rsa",
    invariances=("scale",),
    cost="n^2 (p + q)",
    source="Kriegeskorte et al. 2008, Representational similarity analysis",
    bias="pearson: none, independent features give 1 within .1. cosine: biased, they give .06 at "
    "width 16, .001 at width 1024, whatever n",
)
class RSA(ProfileDistance):
    """1 - similarity of the dissimilarities between all pairs of rows (RDMs).

    `rdm` correlation is invariant to a factor and an offset of each row, cosine to rotation and a
    factor of each row, squared_euclidean to rotation, scale and mean. `compare` pearson gives
    distances from 0 to 2, and 0 for RDMs that differ by a constant; cosine from 0 to 1. Without
    variance on a side, or (for `pearson`) if all its dissimilarities are equal, the distance is
    exactly 1 and the gradient exactly 0.
    """

    min_rows = 3

    def __init__(
        self,
        *,
        rdm: Literal["correlation", "cosine", "squared_euclidean"] = "correlation",
        compare: Literal["pearson", "cosine"] = "pearson",
    ) -> None:
        self.rdm = rdm
        self.compare = compare

    def dissimilarities(self, features: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        """RDM (..., n, n), up to scale, of features (..., n, p); and whether it is zero (...)."""
        centred, constant = centred_in_range(features)
        if self.rdm == "squared_euclidean":
            rows = centred.features
        else:
            rows = _directions(features, centred, noise, centre=self.rdm == "correlation")
            with torch.no_grad():
                spread = rows.square().sum((-2, -1))
                constant = constant | is_constant(spread, torch.full_like(spread, rows.shape[-2]))
        return squared_distances(rows, constant), constant

    def profile(self, features: Tensor, noise: float = 0.0) -> Tensor:
        """The RDM (..., n * n) of features (..., n, p), with zeros on the diagonal, of norm 1."""
        dissimilarities, constant = self.dissimilarities(features, noise)
        if self.compare == "cosine":
            return unit(dissimilarities.flatten(-2), constant)
        n = features.shape[-2]
        mean = dissimilarities.sum((-2, -1), keepdim=True) / (n * (n - 1))
        off_diagonal = 1 - torch.eye(n, dtype=mean.dtype, device=mean.device)
        projected = ((dissimilarities - mean) * off_diagonal).flatten(-2)
        return unit(projected, constant | vanishes(projected, dissimilarities.flatten(-2), noise))


def _directions(features: Tensor, centred: Centred, noise: float, *, centre: bool) -> Tensor:
    """Rows over their norms, less a common vector: (..., n, p + 1), and centred over rows.

    With `centre`, each row is centred over its features first. The last feature marks rows without
    a direction.
    """
    # Any vector near all rows will do, so it is a constant without a gradient.
    mean = centred.mean.detach()
    rows = (features if centred.scale is None else features * centred.scale) - mean
    size = torch.linalg.vector_norm((rows + mean).detach(), dim=-1, keepdim=True)
    typical = size.square().mean(-2, keepdim=True).sqrt()
    if centre:
        # Twice, because rounding leaves some of a mean that is large relative to the spread.
        rows, mean = _without_mean(_without_mean(rows)), _without_mean(_without_mean(mean))
    along = torch.linalg.vector_norm(mean, dim=-1, keepdim=True)
    axis = mean / along.masked_fill(along == 0, torch.inf)
    # Norms squared as |rows|^2 + 2 rows mean' + |mean|^2, less |mean|^2, keep the digits of rows.
    excess = (rows * (rows + 2 * mean)).sum(-1, keepdim=True)
    norms = torch.linalg.vector_norm(rows + mean, dim=-1, keepdim=True)
    vanishing = norms <= max(noise, rounding(norms.dtype)) * torch.maximum(size, typical)
    longer = excess / (norms + along).masked_fill(vanishing, torch.inf)
    unit_rows = (rows - axis * longer) / norms.masked_fill(vanishing, torch.inf)
    # A row without a direction is 0, which differs from the common vector by - axis.
    unit_rows = torch.where(vanishing, -axis, unit_rows)
    directions = torch.cat((unit_rows, vanishing.to(rows.dtype)), -1)
    return directions - directions.mean(-2, keepdim=True)


def _without_mean(rows: Tensor) -> Tensor:
    return rows - rows.mean(-1, keepdim=True)
