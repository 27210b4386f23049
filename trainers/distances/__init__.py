"""Representational distances: differentiable dissimilarities, for training.

One distance (or one family) is one file of this package; `base` defines the interface.
"""

from trainers.distances._centring import rounding
from trainers.distances._guide_grams import GuideGrams
from trainers.distances._shared_sides import shared_side, shared_sides
from trainers.distances.base import (
    DISTANCES,
    FACTS,
    INVARIANCES,
    Distance,
    build,
    check_result,
    check_same_rows,
    constants,
    create,
    full_precision,
    of_logits,
    register,
)

__all__ = [
    "DISTANCES",
    "FACTS",
    "INVARIANCES",
    "Distance",
    "GuideGrams",
    "build",
    "check_result",
    "check_same_rows",
    "constants",
    "create",
    "full_precision",
    "of_logits",
    "register",
    "rounding",
    "shared_side",
    "shared_sides",
]
