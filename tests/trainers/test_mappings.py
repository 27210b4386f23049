"""Which guide tap meets which target tap."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trainers import mappings
from trainers.distances import DISTANCES
from trainers.errors import UserError
from trainers.mappings import MAPPINGS, Pair
from trainers.registry import UnknownNameError
from trainers.testing import check_mapping

TARGET = ("a", "b", "c")
GUIDE = ("a", "x", "c", "y")
FEATURES = DISTANCES.component("linear_cka")


def never() -> Tensor:
    raise AssertionError("this mapping does not ask for similarities")


def pairs(name: str, similarity: Any = never, **options: Any) -> list[Pair]:
    component = MAPPINGS.component(name, **options)
    return mappings.pairs_of(component, FEATURES, TARGET, GUIDE, similarity)


def test_one_to_one() -> None:
    assert pairs("one_to_one") == [Pair("a", "a"), Pair("c", "c")]
    with pytest.raises(ValueError, match=r"no tap of the guide \(x\) has the name .* \(a, b\)"):
        mappings.one_to_one(("a", "b"), ("x",), never)


def test_random() -> None:
    target, guide = tuple("abcd"), tuple("uvwxyz")
    even = mappings.evenly_spaced(target, guide, never)
    drawn = [mappings.random_order(target, guide, never, draw=draw) for draw in range(4)]
    for found in drawn:
        assert [pair.guide for pair in found] == list(guide)
        assert sorted(pair.target for pair in found) == sorted(pair.target for pair in even)
        assert found != even
    assert len({tuple(found) for found in drawn}) == 4
    assert drawn[0] == mappings.random_order(target, guide, never)
    with pytest.raises(ValueError, match="random: draw is -1; allowed: 0 or more"):
        pairs("random", draw=-1)


def test_last() -> None:
    assert pairs("last") == [Pair("c", "y")]
    assert pairs("last", k=3) == [Pair("a", "x"), Pair("b", "c"), Pair("c", "y")]
    for k in (0, 4):
        with pytest.raises(ValueError, match=rf"last: k is {k}; allowed here: 1 to 3"):
            pairs("last", k=k)


@pytest.mark.parametrize("sharpness", [0.0, 3.0])
def test_all_pairs(sharpness: float) -> None:
    found = pairs("all_pairs", sharpness=sharpness)
    assert {(p.target, p.guide) for p in found} == {(t, g) for t in TARGET for g in GUIDE}
    for tap in GUIDE:
        assert sum(p.weight for p in found if p.guide == tap) == pytest.approx(1)
    weights = {(p.target, p.guide): p.weight for p in found}
    if sharpness:
        # Of relative depth 0 against 0, 1/2 and 1.
        first = [weights[t, "a"] for t in TARGET]
        ratio = first[0] / first[1]
        assert ratio == pytest.approx(first[1] / first[2]) == pytest.approx(2.718281828**1.5)
    else:
        assert list(weights.values()) == pytest.approx([1 / 3] * len(weights))
    with pytest.raises(ValueError, match="sharpness is -1"):
        pairs("all_pairs", sharpness=-1.0)


def test_nearest() -> None:
    similarity = torch.tensor(
        [[0.1, 0.9, 0.2], [0.5, 0.5, 0.1], [-1, -2, -0.5], [torch.nan, 0, -1]]
    )
    found = pairs("nearest", lambda: similarity)
    assert found == [Pair("b", "a"), Pair("a", "x"), Pair("c", "c"), Pair("b", "y")]


def test_explicit() -> None:
    assert pairs("explicit", pairs={"y": "a", "x": ["b", "c"]}) == [
        Pair("a", "y"),
        Pair("b", "x"),
        Pair("c", "x"),
    ]
    with pytest.raises(UnknownNameError, match="guide tap in mapping explicit: 'z'"):
        pairs("explicit", pairs={"z": "a"})
    with pytest.raises(UnknownNameError, match="target tap in mapping explicit: 'z'"):
        pairs("explicit", pairs={"x": ["a", "z"]})
    with pytest.raises(ValueError, match="explicit: pairs is None; give guide tap: target tap"):
        pairs("explicit")


@pytest.mark.parametrize("name", MAPPINGS.names())
def test_contract(name: str) -> None:
    options = {"pairs": {"x": "a", "y": ("b", "c")}} if name == "explicit" else {}
    check_mapping(MAPPINGS.component(name, **options), target=TARGET, guide=GUIDE)


@pytest.mark.parametrize("name", MAPPINGS.names())
def test_one_tap_each(name: str) -> None:
    options = {"pairs": {"g": "g"}} if name == "explicit" else {}
    component = MAPPINGS.component(name, **options)
    (pair,) = mappings.pairs_of(component, FEATURES, ("g",), ("g",), lambda: torch.zeros(1, 1))
    assert pair == Pair("g", "g")
    assert MAPPINGS[name].summary


def test_answers_meet_whatever_the_mapping() -> None:
    answers = DISTANCES.component("distillation")
    for name in MAPPINGS.names():
        found = mappings.pairs_of(MAPPINGS.component(name), answers, TARGET, GUIDE, never)
        assert found == [Pair("logits", "logits")]
    assert mappings.taps_of(answers) == ("logits",)
    assert mappings.taps_of(FEATURES) is None


def test_before_there_are_networks_there_are_as_many_pairs() -> None:
    nearest = MAPPINGS.component("nearest")
    planned = mappings.pairs_of(nearest, FEATURES, TARGET, GUIDE)
    found = mappings.pairs_of(nearest, FEATURES, TARGET, GUIDE, lambda: torch.eye(4, 3))
    assert len(planned) == len(found) == len(GUIDE)
    assert planned != found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "mapping 'mine' gives None; give a list of Pair"),
        ([], r"mapping 'mine' gives \[\]; give a list of Pair"),
        ([("a", "a")], "mapping 'mine' gives .*; give a list of Pair"),
        ([Pair("d", "a")], "unknown target tap of mapping 'mine': 'd'.*known: a, b, c"),
        ([Pair("a", "b")], "unknown guide tap of mapping 'mine': 'b'.*known: a, c, x, y"),
        ([Pair("a", "x"), Pair("a", "x")], "the pair of 'a' and 'x' twice; .* weight=2"),
    ],
)
def test_what_a_mapping_gives_is_looked_at(given: Any, message: str) -> None:
    with MAPPINGS.restored():
        mappings.register("mine")(lambda _target, _guide, _similarity: given)
        with pytest.raises(UserError, match=message):
            pairs("mine")
