"""Measures that are 1 - the distance of the same name, in float64."""

from __future__ import annotations

from typing import Any

from trainers.distances._symmetric import PreparedSide, SymmetricDistance
from trainers.measures import Measure
from trainers.measures._features import Features


class OfDistance(Measure):
    """1 - a distance of sides that are prepared in float64; a side that is empty is collapsed."""

    def __init__(self, distance: SymmetricDistance) -> None:
        self.distance = distance
        # A single row has no similarity, even if the distance is defined for it.
        self.min_rows = max(2, distance.min_rows)

    def view(self, features: Features) -> Any:
        """The distance's prepared side; None if it is empty."""
        side: PreparedSide = self.distance.side(features.raw, features.noise)
        return None if side.is_empty else side

    def similarity(self, target: Any, guide: Any) -> float:
        """1 - the distance between two prepared sides."""
        return 1 - float(self.distance.between(target, guide))
