"""Labels of mixtures, read back."""

from __future__ import annotations

import math

import pytest

from analysis.mixture_labels import is_mixture, is_plain, parts_of, states_of, terms_of


@pytest.mark.parametrize(
    ("label", "weights"),
    [
        ("cnn", {"cnn": 1}),
        ("0.75*resnet2d+0.25*vit(depth=4)", {"resnet2d": 0.75, "vit(depth=4)": 0.25}),
        ("cnn+0.5*mlp", {"cnn": 1, "mlp": 0.5}),
        ("vit(weights=a+b*c)", {"vit(weights=a+b*c)": 1}),
        ("1e-05*cnn", {"cnn": 1e-5}),
    ],
)
def test_labels_of_mixtures(label, weights):
    assert {part.name: part.weight for part in parts_of(label)} == weights
    assert "+".join(weight + name for weight, name in terms_of(label)) == label
    assert is_mixture(label) == (len(weights) > 1)


def test_weights_that_were_searched_are_not_known() -> None:
    found = parts_of("tuned*cnn+tuned*vit(depth=2)")
    assert [part.name for part in found] == ["cnn", "vit(depth=2)"]
    assert all(math.isnan(part.weight) for part in found)


def test_states() -> None:
    assert states_of("trained+untrained") == ("trained", "untrained")
    assert states_of(None) == ()
    assert not is_mixture(None)


def test_states_are_those_of_guides_that_no_control_replaces() -> None:
    found = parts_of("0.5*cnn+0.25*vit(control=input)+0.25*cnn", "trained+untrained")
    assert [part.state for part in found] == ["trained", None, "untrained"]
    assert [part.state for part in parts_of("cnn+vit", "trained")] == ["trained"] * 2
    assert [is_plain(label) for label in ("cnn", "2*cnn", "cnn+vit", None)] == [True, *[False] * 3]


def test_an_option_that_ends_like_a_control_is_none() -> None:
    found = parts_of("mine(my_control=3)+cnn(depth=2,control=input)", "trained")
    assert [part.is_control for part in found] == [False, True]
    assert [part.state for part in found] == ["trained", None]
