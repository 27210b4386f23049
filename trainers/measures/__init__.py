"""Representational measures: similarities of target and guide features, for analysis alone.

One measure (or one family) is one file of this package; `base` defines the interface.
"""

from trainers.distances import INVARIANCES
from trainers.measures.accumulator import ProductAccumulator
from trainers.measures.base import (
    MEASURES,
    Comparison,
    Measure,
    Side,
    build,
    create,
    register,
)

__all__ = [
    "INVARIANCES",
    "MEASURES",
    "Comparison",
    "Measure",
    "ProductAccumulator",
    "Side",
    "build",
    "create",
    "register",
]
