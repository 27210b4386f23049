"""Features in no more dimensions than rows: what a Gram matrix fixes of them."""

from __future__ import annotations

import torch
from torch import Tensor


def factored(features: Tensor) -> tuple[Tensor, Tensor | None]:
    """Features (..., n, p) as a factor (..., n, k) times orthonormal rows (..., k, p); k <= n.

    No rows where p <= n and the factor is the features. A Gram matrix has the same content but
    squared, at half the digits.
    """
    if features.shape[-1] <= features.shape[-2]:
        return features, None
    basis, triangle = torch.linalg.qr(features.mT)
    return triangle.mT, basis.mT
