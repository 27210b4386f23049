"""Comparison of finished replicates: how similar every tap of one is to every tap of another.

`align` computes a table of similarities and stores it, `stored` only reads it. `describe` does so
for the taps of a guide by themselves. `make` and `made` do either, by the arguments that they get.
`initial_alignment` needs no finished target.
"""

from __future__ import annotations

import os
from typing import Any

from trainers.comparison.alignment import align, stored
from trainers.comparison.guide_taps import GUIDE_TAPS, GuideTapTable, describe
from trainers.comparison.initial import initial_alignment, missing_guide
from trainers.comparison.rows_file import Rows
from trainers.comparison.sides import Moment, Sides

__all__ = [
    "GUIDE_TAPS", "GuideTapTable", "Moment", "Sides", "align", "describe", "initial_alignment",
    "made", "make", "missing_guide", "stored",
]  # fmt: skip

Store = str | os.PathLike[str]


def make(store: Store, *, sides: Sides, **arguments: Any) -> Rows:
    """Rows of `align`, or of `describe` where the arguments name no target."""
    return (align if "target_id" in arguments else describe)(store, **arguments, sides=sides)


def made(store: Store, **arguments: Any) -> Rows | None:
    """Rows that an earlier `make` stored, or None; computes nothing."""
    if "target_id" in arguments:
        return stored(store, **arguments)
    return GuideTapTable.of(store, **arguments).file.read()
