"""Numbers as text: decimals, units, and limits that keep their side of zero."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.quantities import PLAIN, POINTS, duration, fixed, in_short, unit_of, with_interval


@pytest.mark.parametrize(
    ("values", "unit", "expected"),
    [
        ((0.034, 0.015, 0.054), POINTS, "3.4 points [1.5, 5.4]"),
        ((0.151,), POINTS, "15.1 points"),
        ((1.0,), POINTS, "100.0 points"),
        ((0.0034, -0.001, 0.0078), POINTS, "0.3 points [-0.1, 0.8]"),
        ((0.00034,), POINTS, "0.03 points"),
        ((0.034, 0.0004, 0.068), POINTS, "3.4 points [0.04, 6.8]"),
        ((0.034, -0.0004, 0.068), POINTS, "3.4 points [-0.04, 6.8]"),
        ((0.0,), POINTS, "0.0 points"),
        ((-0.0,), POINTS, "0.0 points"),
        ((0.0, -0.01, 0.01), POINTS, "0.0 points [-1.0, 1.0]"),
        ((0.123456, 0.1, 0.15), PLAIN, "0.123 [0.100, 0.150]"),
        ((12.3456, 2.0, 22.0), PLAIN, "12.3 [2.0, 22.0]"),
        ((1234.5, 1000.0, 1469.0), PLAIN, "1234 [1000, 1469]"),
    ],
)
def test_differences_with_their_interval(values, unit, expected) -> None:
    assert with_interval(*values, unit=unit) == expected


def test_signs_and_words() -> None:
    assert with_interval(0.034, unit=POINTS, signed=True) == "+3.4 points"
    assert with_interval(-0.034, unit=POINTS, signed=True) == "-3.4 points"
    assert with_interval(0.0, unit=POINTS, signed=True) == "0.0 points"
    assert with_interval(0.034, unit=POINTS, worded=False) == "3.4"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0123, "+0.012"), (-0.5, "-0.500"), (0.0, "0.000"), (-0.0, "0.000"), (1e-17, "0.000"),
        (0.0004, "+0.0004"), (-0.00026, "-0.0003"), (-4e-7, "-0.0000004"), (3e-10, "+3e-10"),
        (float("nan"), "nan"),
    ],
)  # fmt: skip
def test_a_number_of_fixed_decimals_keeps_its_side_of_zero(value, expected) -> None:
    assert fixed(value, 3, signed=True) == expected


def test_given_numbers_have_no_zeros_at_their_end() -> None:
    assert in_short(0.01, POINTS) == "1 point"
    assert in_short(0.005, POINTS) == "0.5 points"
    assert in_short(0.1, POINTS) == "10 points"
    assert in_short(0.05, PLAIN) == "0.05"


def test_accuracies_are_said_in_points() -> None:
    assert unit_of("accuracy") is unit_of("top5_accuracy") is POINTS
    assert unit_of("loss") is unit_of("perplexity") is PLAIN


@given(st.floats(-1, 1), st.floats(1e-6, 1), st.floats(1e-6, 1), st.sampled_from([PLAIN, POINTS]))
def test_limits_keep_their_side_of_zero(mean, below, above, unit) -> None:
    low, high = mean - below, mean + above
    text = with_interval(mean, low, high, unit=unit)
    shown = [float(each) for each in text.split("[")[1].rstrip("]").split(", ")]
    for limit, read in zip((low, high), shown, strict=True):
        if abs(limit * unit.scale) > 1e-8:
            assert math.copysign(1, limit) == math.copysign(1, read)
            assert read != 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (1.54, "1.5 s"), (45.4, "45 s"), (720, "12 min"), (12600, "3.5 h"),
        (172000, "47.8 h"), (172800, "2.0 d"),
    ],
)  # fmt: skip
def test_seconds_as_a_person_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
