"""Features rotated to at most as many dimensions as rows, with the same Gram matrix."""

from __future__ import annotations

import torch
from torch import Tensor


def factored(features: Tensor) -> tuple[Tensor, Tensor | None]:
    """Features (..., n, p) as a factor (..., n, k) times orthonormal rows (..., k, p); k <= n.

    If p <= n, the factor is the features, and the rows are None. A Gram matrix holds the same
    information squared, at half the digits.
    """
    if features.shape[-1] <= features.shape[-2]:
        return features, None
    basis, triangle = torch.linalg.qr(features.mT)
    return triangle.mT, basis.mT
