"""Canonical correlation analysis (CCA), plain and on leading components (SVCCA)."""

from __future__ import annotations

import torch
from torch import Tensor

from trainers.measures import Measure, register
from trainers.measures._features import Features

_BIAS = (
    "independent features come out similar, the more the nearer p and q are to n; where p + q >= n "
    "some correlations are 1 for any features at all"
)


class _CanonicalCorrelations(Measure):
    def check_shape(self, n: int, p: int) -> None:
        super().check_shape(n, p)
        if p >= n - 1:
            raise ValueError(
                f"{type(self).__name__} is trivially perfect for features of width {p} on n = {n} "
                "rows: they span every centred vector, so that it would be 1 for any features at "
                f"all. It needs n > {p + 1}, better n > {10 * p}; or use linear_cka or procrustes"
            )

    def __init__(self, *, squared: bool = False) -> None:
        self.squared = squared

    def similarity(self, target: Tensor, guide: Tensor) -> float:
        """Mean canonical correlation of the spans of two orthonormal bases."""
        correlations = torch.linalg.svdvals(target.T @ guide).clamp(max=1.0)
        return float((correlations.square() if self.squared else correlations).mean())


@register(
    "cca",
    invariances=("rotation", "scale", "mean", "linear"),
    cost="n (p^2 + q^2 + p q)",
    bias=_BIAS,
    source="Hotelling 1936; as R^2_CCA and rho_CCA in Kornblith et al. 2019",
)
class CCA(_CanonicalCorrelations):
    """Mean canonical correlation; `squared`: mean of their squares.

    The mean is over as many correlations as the lower of the two ranks. Directions in which
    features vary by no more than rounding do not count.
    """

    def view(self, features: Features) -> Tensor:
        """An orthonormal basis (n, rank) of the centred features."""
        basis, singular = _principal(features)
        return basis[:, singular > features.noise * features.size**0.5]


@register(
    "svcca",
    invariances=("rotation", "scale", "mean"),
    cost="n (p^2 + q^2 + p q)",
    bias=_BIAS + "; keeping fewer components makes it smaller",
    source="Raghu et al. 2017, SVCCA",
)
class SVCCA(_CanonicalCorrelations):
    """Mean canonical correlation of the leading principal components of the two sides.

    Libraries differ; the definition here is as follows. Features are centred, not standardised.
    Each side is replaced by the span of its first k principal components, k the fewest whose
    squared singular values sum to at least `variance` of all. The canonical correlations of these
    two spans are the cosines of their principal angles; the similarity is their mean (`squared`:
    that of their squares), over as many as the smaller k.
    """

    def __init__(self, *, variance: float = 0.99, squared: bool = False) -> None:
        super().__init__(squared=squared)
        if not 0 < variance <= 1:
            raise ValueError(f"measure svcca: variance is {variance}; allowed: above 0, up to 1")
        self.variance = variance

    def view(self, features: Features) -> Tensor:
        """An orthonormal basis (n, k) of the leading principal components."""
        basis, singular = _principal(features)
        real = singular > features.noise * features.size**0.5
        # On the CPU, because on CUDA a running sum is not deterministic.
        shares = (singular.square().cpu().cumsum(0) / singular.square().sum().cpu()).to(singular)
        # Component k is kept while those before it fall short.
        before = torch.cat([shares.new_zeros(1), shares[:-1]])
        return basis[:, real & (before < self.variance)]


def _principal(features: Features) -> tuple[Tensor, Tensor]:
    """Left singular vectors (n, p) and singular values (p,) of centred features, p < n."""
    basis, singular, _ = torch.linalg.svd(features.centred, full_matrices=False)
    return basis, singular
