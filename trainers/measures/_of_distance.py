"""Measures that are 1 - the distance of the same name, in float64."""

from __future__ import annotations

from typing import Any

from trainers.distances._symmetric import PreparedSide, SymmetricDistance
from trainers.measures import Measure
from trainers.measures._features import Features


class OfDistance(Measure):
    """1 - a distance: its sides are prepared in float64, and what is empty is collapsed."""

    def __init__(self, distance: SymmetricDistance) -> None:
        self.distance = distance
        # One row says nothing; a distance may be defined for it all the same.
        self.min_rows = max(2, distance.min_rows)

    def view(self, features: Features) -> Any:
        """The distance's side."""
        side: PreparedSide = self.distance.side(features.raw, features.noise)
        return None if side.is_empty else side

    def similarity(self, target: Any, guide: Any) -> float:
        """1 - the distance of two sides."""
        return 1 - float(self.distance.between(target, guide))
