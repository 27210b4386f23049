"""Numbers as a person reads them: accuracies in points, limits that keep their side of zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Significant digits of a metric's own numbers.
_DIGITS = 3
#: Differences of smaller size are rounding: they read as zero.
_ROUNDING = 1e-12
#: Decimals are added to a number that is not zero until it does not read as zero; beyond these it
#: is written with an exponent.
_MOST_DECIMALS = 8


@dataclass(frozen=True, kw_only=True)
class Unit:
    """How numbers of a metric are written: multiplied by `scale`, with `word` after them.

    `word` is empty where the metric has no unit of its own. The largest number of a text has
    `digits`, or more by the `fewest_decimals`.
    """

    scale: float = 1.0
    word: str = ""
    digits: int = _DIGITS
    fewest_decimals: int = 0


#: Accuracies are fractions of 1; their differences are said in percentage points, with one decimal.
POINTS = Unit(scale=100.0, word="points", digits=1, fewest_decimals=1)
#: And their values in percent.
PERCENT = Unit(scale=100.0, word="%", digits=1, fewest_decimals=1)
PLAIN = Unit()


def unit_of(metric: str) -> Unit:
    """The unit of a test metric's differences: points of accuracies, else the metric's own."""
    return POINTS if metric.endswith("accuracy") else PLAIN


def with_interval(
    mean: float,
    low: float | None = None,
    high: float | None = None,
    *,
    unit: Unit,
    signed: bool = False,
    worded: bool = True,
) -> str:
    """A difference with its interval, "3.4 points [1.5, 5.4]"; without one where there is none.

    `signed` puts a plus before a positive mean, `worded` the unit's word after it. A limit that is
    not zero does not read as zero: it alone gets more decimals.
    """
    limits = [] if low is None or high is None else [low, high]
    decimals = _decimals([mean, *limits], unit)
    text = _text(mean, unit, decimals, plus=signed)
    word = f" {unit.word}" if worded and unit.word else ""
    interval = ", ".join(_text(limit, unit, decimals) for limit in limits)
    return f"{text}{word}" + (f" [{interval}]" if limits else "")


def fixed(value: float, decimals: int, *, signed: bool = False) -> str:
    """A number with so many decimals, or as many more as it needs to keep its side of zero.

    `signed` puts a plus before a positive one; zero, which rounding errors are too, has no sign.
    """
    if abs(value) <= _ROUNDING:
        return f"{0:.{max(decimals, 0)}f}"
    if not math.isfinite(value):
        return str(value)
    form = "+" if signed else ""
    while decimals < _MOST_DECIMALS and round(value, decimals) == 0:
        decimals += 1
    if round(value, decimals) == 0:
        return f"{value:{form}.0e}"
    return f"{round(value, decimals):{form}.{max(decimals, 0)}f}"


def in_short(value: float, unit: Unit) -> str:
    """A given number, such as a margin, without zeros at its end: "1 point", "0.5 points"."""
    text = f"{value * unit.scale:.{_DIGITS}g}"
    word = unit.word.removesuffix("s") if text == "1" else unit.word
    return f"{text} {word}" if word else text


def duration(seconds: float) -> str:
    """Seconds as a person writes them: `1.5 s`, `45 s`, `12 min`, `3.5 h`, `2.4 d`."""
    if seconds < 100:
        return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} d"


def _decimals(values: Sequence[float], unit: Unit) -> int:
    scaled = [abs(v * unit.scale) for v in values if abs(v) > _ROUNDING and math.isfinite(v)]
    if not scaled:
        return unit.fewest_decimals
    wanted = unit.digits - 1 - math.floor(math.log10(max(scaled)))
    return max(unit.fewest_decimals, wanted)


def _text(value: float, unit: Unit, decimals: int, *, plus: bool = False) -> str:
    return fixed(value * unit.scale, decimals, signed=plus)
