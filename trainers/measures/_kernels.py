"""Helpers for values over pairs of rows."""

from __future__ import annotations

import torch
from torch import Tensor

#: Values that differ by less than this fraction of the largest are equal.
_TIE = 2.0**-40


def upper(matrix: Tensor) -> Tensor:
    """The strict upper triangle (n (n - 1) / 2,) of a matrix (n, n), row by row."""
    n = len(matrix)
    above = torch.ones(n, n, dtype=torch.bool, device=matrix.device).triu_(1)
    return matrix[above]


def settled(values: Tensor) -> Tensor:
    """Values rounded to a grid so fine that only rounding errors disappear, so that ties are exact.

    Order statistics (ranks, neighbours) would otherwise depend on the order of additions. The unit
    is arbitrary.
    """
    step = values.abs().amax() * _TIE
    return values if not step > 0 else (values / step).round_()
