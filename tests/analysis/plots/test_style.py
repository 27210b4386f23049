"""Colours that everybody tells apart, numbers in words, names that stay whole."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from skimage.color import deltaE_ciede2000, rgb2lab

from analysis.plots.style import (
    COLOURS,
    DIVERGING,
    GREY,
    LONGEST_NAME,
    SEQUENTIAL,
    SIMILARITY,
    axes,
    axis_names,
    interval,
    number,
    plain,
    shortened,
    sign,
    title,
)  # fmt: skip

#: Full deuteranopia and protanopia in linear RGB (Machado et al. 2009, table for severity 1).
BLINDNESS = {
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
}  # fmt: skip


def seen(colours, blindness=None):
    """CIELAB of colours `(n, 3)`, as people with this colour vision see them."""
    rgb = np.asarray(colours, dtype=float)
    if blindness is not None:
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        linear = np.clip(linear @ np.array(BLINDNESS[blindness]).T, 0, 1)
        rgb = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb2lab(rgb[None])[0]


def test_effects_have_equal_steps_of_colour_on_both_sides():
    lab = seen(DIVERGING(np.linspace(0, 1, 21))[:, :3])
    steps = np.linalg.norm(np.diff(lab, axis=0), axis=1)
    for side in (steps[:10], steps[10:]):
        assert side.max() / side.min() < 1.35
    lightness = lab[:, 0]
    assert (np.diff(lightness[:11]) > 0).all()
    assert (np.diff(lightness[10:]) < 0).all()
    # As far from zero as they are apart in grey, on both sides alike.
    assert lightness[:10] == pytest.approx(lightness[:10:-1], abs=2)


@pytest.mark.parametrize("blindness", [None, *BLINDNESS])
def test_better_and_worse_are_told_apart(blindness):
    worse, better = seen(DIVERGING([0.15, 0.85])[:, :3], blindness)
    assert deltaE_ciede2000(worse, better) > 25


@pytest.mark.parametrize("blindness", [None, *BLINDNESS])
def test_lines_are_told_apart(blindness):
    lab = seen([to_rgb(colour) for colour in COLOURS], blindness)
    nearest = min(deltaE_ciede2000(a, b) for a, b in itertools.combinations(lab, 2))
    assert nearest > 10


def test_more_similar_is_darker_on_paper():
    lab = seen(SIMILARITY(np.linspace(0, 1, 21))[:, :3])
    assert (np.diff(lab[:, 0]) < 0).all()
    assert lab[0, 0] - lab[-1, 0] > 60


def test_one_direction_is_uniform():
    lab = seen(mpl.colormaps[SEQUENTIAL](np.linspace(0, 1, 21))[:, :3])
    assert (np.diff(lab[:, 0]) > 0).all()


def test_grey_is_read_on_white():
    linear = [((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(GREY)]
    luminance = np.dot(linear, [0.2126, 0.7152, 0.0722])
    assert 1.05 / (luminance + 0.05) >= 4.5


@pytest.mark.parametrize(
    ("value", "signed", "words"),
    [
        (0.12345, True, "+0.123"), (-0.12345, False, "−0.123"), (1234.56, False, "1235"),
        (None, True, "–"), (float("nan"), True, "–"), (pd.NA, False, "–"), (0.0, True, "0.000"),
        (float("inf"), False, "–"),
    ],
)  # fmt: skip
def test_numbers(value, signed, words):
    assert number(value, signed=signed) == words


def test_intervals_and_their_signs():
    assert interval(-0.1, 0.2) == "[−0.100, +0.200]"
    assert interval(None, 0.2) == interval(0.1, float("nan")) == ""
    signs = [sign(*limits) for limits in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), (None, None))]
    assert signs == ["▲", "▼", "", ""]


def test_long_names_lose_their_middle_and_stay_different():
    assert shortened(["short", "a" * 30 + "b" * 30], 11) == ["short", "aaaaa…bbbbb"]
    names = ["a" * 30 + middle + "b" * 30 for middle in "xy"]
    assert shortened(names, 11) == names
    assert shortened([names[0]] * 2, 11) == ["aaaaa…bbbbb"] * 2


def test_titles_and_axes_are_no_wider_than_a_figure():
    ax = axes(None, 4, 3)
    title(ax, "short", "a" * 500)
    axis_names(ax, "b" * 500, "$c$")
    first, second = ax.get_title(loc="left").split("\n")
    assert first == "short"
    assert len(second) == 2 * LONGEST_NAME
    assert len(ax.get_xlabel()) == 2 * LONGEST_NAME
    assert ax.get_ylabel() == "$c$"


def test_control_characters_are_not_drawn():
    assert plain("a\x00b\x1bc\ud800\n") == "a�b�c��"
