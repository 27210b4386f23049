"""Values over pairs of rows."""

from __future__ import annotations

import torch
from torch import Tensor

#: Values that differ by less than this fraction of the largest are equal.
_TIE = 2.0**-40


def upper(matrix: Tensor) -> Tensor:
    """The strict upper triangle of (n, n), flat."""
    n = len(matrix)
    above = torch.ones(n, n, dtype=torch.bool, device=matrix.device).triu_(1)
    return matrix[above]


def settled(values: Tensor) -> Tensor:
    """Values on a grid so fine that only rounding disappears: what was equal is equal again.

    Order statistics (ranks, neighbours) would otherwise be decided by the order of additions.
    """
    step = values.abs().amax() * _TIE
    return values if not step > 0 else (values / step).round_()
