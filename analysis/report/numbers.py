"""Numbers as the page shows them: levels, differences, intervals, counts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.quantities import POINTS, unit_of, with_interval

#: Shown where there is no value.
ABSENT = "–"
_MINUS = "−"
#: Marks of an interval that lies above or below zero, so that colour alone says nothing.
ABOVE, BELOW = "▲", "▼"


def present(value: Any) -> bool:
    """Whether a cell of a table has a value."""
    return value is not None and bool(pd.notna(value))


def unit(metric: str) -> str:
    """The unit of a metric's differences, for a caption: `points`, or the metric's own name."""
    return unit_of(metric).word or metric


def level(value: Any, metric: str) -> str:
    """A value of a metric: `83.6 %`, `1.234`."""
    if not present(value):
        return ABSENT
    return f"{100 * value:.1f} %" if unit_of(metric) is POINTS else number(value)


def difference(value: Any, metric: str) -> str:
    """A signed difference of a metric, in its unit: `+3.4`, `−0.021`."""
    return _parts(value, None, None, metric)[0]


def interval(value: Any, low: Any, high: Any, metric: str) -> str:
    """Limits of a difference's interval: `[1.8, 5.1]`; empty where there is none."""
    return _parts(value, low, high, metric)[1]


def _parts(value: Any, low: Any, high: Any, metric: str) -> tuple[str, str]:
    if not present(value):
        return ABSENT, ""
    limits = (low, high) if present(low) and present(high) else (None, None)
    text = with_interval(value, *limits, unit=unit_of(metric), signed=True, worded=False)
    mean, _, rest = text.replace("-", _MINUS).partition(" ")
    return mean, rest


def number(value: Any) -> str:
    """A number without a unit, to three or four figures."""
    if not present(value):
        return ABSENT
    if float(value).is_integer() and abs(value) < 1e6:
        return count(int(value))
    text = f"{value:.3f}" if 1e-3 <= abs(value) < 10 else f"{value:.4g}"
    return text.replace("-", _MINUS)


def count(value: int) -> str:
    """A whole number, its thousands apart."""
    return f"{value:,}".replace(",", "\u202f").replace("-", _MINUS)


def size(num_bytes: float) -> str:
    """A size of a file: `340 B`, `12 kB`, `3.4 MB`."""
    for word in ("B", "kB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {word}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} MB"


def mark(low: Any, high: Any) -> str:
    """The mark of an interval above or below zero; empty where it holds zero, or is not there."""
    if not (present(low) and present(high)):
        return ""
    if low > 0:
        return ABOVE
    return BELOW if high < 0 else ""
