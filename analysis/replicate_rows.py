"""Where the rows of each replicate stand in a table, so that they are taken without a copy."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd


def rows_of(replicate_ids: pd.Series[str]) -> dict[str, slice | npt.NDArray[np.int64]]:
    """Rows of each replicate: a slice, or their indices where they do not stand together."""
    codes, names = replicate_ids.factorize()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    if len(starts) == len(names):
        bounds = [*starts.tolist(), len(codes)]
        return {str(name): slice(*ends) for name, ends in zip(names, pairwise(bounds), strict=True)}
    order = np.argsort(codes, kind="stable")
    parts = np.split(order, np.searchsorted(codes[order], np.arange(1, len(names))))
    return {str(name): rows for name, rows in zip(names, parts, strict=True)}
