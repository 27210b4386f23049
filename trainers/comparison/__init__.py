"""Comparison of finished replicates: how similar every tap of one is to every tap of another.

`align` computes a table of similarities and stores it, `stored` only reads it.
"""

from trainers.comparison.alignment import align, stored
from trainers.comparison.sides import Moment, Sides

__all__ = ["Moment", "Sides", "align", "stored"]
