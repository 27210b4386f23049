"""Equivalence of paired values within a margin, by two one-sided t tests."""

from __future__ import annotations

from dataclasses import dataclass

from scipy import special

from analysis.statistics import PairedDifference

#: Level of each of the two tests, and so of an interval that lies inside the margin: 90%.
LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """Two one-sided tests of a difference against a margin (Schuirmann 1987, J. Pharmacokinet. 15).

    `p_value` is the larger p of the tests of `difference <= -margin` and `difference >= margin`;
    `p_no_more` is that of the second alone. `equivalent` where `p_value < LEVEL`, which is where
    the 90% interval lies inside the margin; `no_more` where it lies below the upper margin. None
    and False where the difference has no interval.
    """

    p_value: float | None = None
    p_no_more: float | None = None

    @property
    def equivalent(self) -> bool:
        """Whether a difference as large as the margin is excluded, in both directions."""
        return self.p_value is not None and self.p_value < LEVEL

    @property
    def no_more(self) -> bool:
        """Whether a positive difference as large as the margin is excluded."""
        return self.p_no_more is not None and self.p_no_more < LEVEL


def equivalence(difference: PairedDifference, margin: float | None) -> Equivalence:
    """The tests of a paired difference against `margin` > 0, in its unit; None where there is none.

    Each is a one-sided t test at n - 1 degrees of freedom.
    """
    error = difference.standard_error
    if margin is None or error is None or difference.mean is None:
        return Equivalence()
    freedom = difference.n - 1
    less = float(special.stdtr(freedom, (-margin - difference.mean) / error))
    more = float(special.stdtr(freedom, (difference.mean - margin) / error))
    return Equivalence(p_value=max(less, more), p_no_more=more)
