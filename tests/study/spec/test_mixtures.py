"""Mixtures of guides in a spec: what is allowed, and the words of what is not."""

from __future__ import annotations

import pytest

from study.errors import SpecError
from study.spec.read import read

SPEC = {"name": "mixed", "task": "digits", "targets": "fcn", "train": {"steps": 2}}


def guides(*entries):
    return read(SPEC | {"guides": list(entries)}).blocks[0].guides


def test_mixtures_stand_beside_guides():
    alone, mixed = guides("resnet2d", {"mix": ["resnet2d", "vit"], "weights": [[1, 0], [0.5, 2]]})
    assert alone.name == "resnet2d"
    assert mixed.weights == ((1, 0), (0.5, 2))
    assert mixed.num_points == 2
    (one,) = guides({"mix": ["resnet2d", "vit"], "weights": [0.5, 0.5]})
    assert one.weights == ((0.5, 0.5),)


def test_axes_of_its_guides_multiply():
    (mixed,) = guides({"mix": [{"name": "resnet2d", "width": [4, 8]}, "vit"], "weights": [1, 1]})
    assert mixed.num_points == 2


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"mix": ["fcn"], "weights": [1]}, r"guides\[0\]: mix has 1 of the 2 guides or more"),
        ({"mix": ["fcn", "vit"], "weights": [[1]]}, r"\[1\] has 1 and mix has 2 guides"),
        ({"mix": ["fcn", "vit"], "weights": [-1, 2]}, r"weights\[0\]: .* equal to 0"),
        ({"mix": ["fcn", "vit"], "weights": [0, 0]}, r"\[0, 0\] are all 0; allowed: one above 0"),
        ({"mix": ["fcn", "vit"], "weights": [1, float("inf")]}, r"weights\[1\]: .* finite"),
        ({"mix": ["fcn", "vit"], "weights": [1e308, 1e308]}, "the sum of .* is not finite"),
        ({"mix": ["fcn", "vit"]}, r"guides\[0\]\.weights: is needed"),
        ({"mix": ["fcn", "vit"], "weights": []}, "weights is empty; give each guide a weight"),
        ({"mix": ["fcn", "vit"], "weights": [1, 1], "x": 1}, r"unknown key 'x' \(known: mix, wei"),
        ({"mix": ["fcn", "fcn"], "weights": [1, 1]}, "mix: a guide stands twice"),
        ({"mix": ["fcn", "vitt"], "weights": [1, 1]}, r"mix\[1\]: .*; did you mean 'vit'\?"),
        (
            {"mix": ["fcn", {"name": "vit", "dept": 2}], "weights": [1, 1]},
            r"guides\[0\]\.mix\[1\]\.dept: unknown key 'dept'; did you mean 'depth'",
        ),
        (
            {"mix": ["fcn", {"name": "vit", "control": "shuffled"}], "weights": [1, 1]},
            "unknown control of a mixture 'shuffled'.*known: input, labels, uniform",
        ),
        (
            {"mix": ["fcn", {"name": "vit", "control": "input", "state": "trained"}],
             "weights": [1, 1]},
            "control input runs no guide: it has no state",
        ),
        (
            {"mix": ["fcn", *({"name": n, "control": "input"} for n in ("fcn", "vit"))],
             "weights": [[0, 1, 1]]},
            r"\[0, 1, 1\] leave controls alone",
        ),
        ({"name": "fcn", "widht": 3}, r"guides\[0\]\.widht: .*did you mean 'width'"),
    ],
)  # fmt: skip
def test_mistakes(entry, message):
    with pytest.raises(SpecError, match=message) as raised:
        guides(entry)
    assert "<" not in str(raised.value)


def test_a_second_order_of_the_same_guides_is_refused():
    """They would be two dials of the same mixtures, each trained twice."""
    first = {"mix": ["resnet2d", "vit"], "weights": [1, 1]}
    guides(first, {"mix": ["resnet2d", "fcn"], "weights": [1, 1]}, first)
    with pytest.raises(
        SpecError, match=r"guides\[1\]: mix has the guides of guides\[0\] in anothe"
    ):
        guides(first, {"mix": ["vit", "resnet2d"], "weights": [1, 3]})
