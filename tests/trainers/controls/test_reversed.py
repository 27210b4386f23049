"""The control and the mapping `reversed`: deep layers of the guide meet shallow ones."""

from __future__ import annotations

import pytest
import torch

from trainers import controls
from trainers.controls import CONTROLS
from trainers.errors import UserError
from trainers.mappings import Pair, all_pairs, evenly_spaced, last, nearest, reversed_depth

TARGET, GUIDE = ("t0", "t1", "t2", "t3"), ("g0", "g1", "g2", "g3", "g4", "g5")
CONTROL = controls.build(CONTROLS.component("reversed"))


@pytest.mark.parametrize("num_target", [1, 2, 3, 7])
@pytest.mark.parametrize("num_guide", [1, 2, 5])
def test_guide_tap_i_meets_the_target_tap_of_its_opposite(num_target: int, num_guide: int) -> None:
    target, guide = (
        [f"{who}{i}" for i in range(n)] for who, n in (("t", num_target), ("g", num_guide))
    )
    forward = {p.guide: p.target for p in evenly_spaced(target, guide, torch.empty)}
    backward = reversed_depth(target, guide, torch.empty)
    assert [p.guide for p in backward] == guide
    for i, pair in enumerate(backward):
        assert pair == Pair(forward[guide[num_guide - 1 - i]], guide[i])


def test_the_control_reverses_the_mapping_of_its_row() -> None:
    mapped = evenly_spaced(TARGET, GUIDE, torch.empty)
    assert CONTROL.pairs(mapped, TARGET, GUIDE) == reversed_depth(TARGET, GUIDE, torch.empty)
    two = last(TARGET, GUIDE, torch.empty, k=2)
    assert CONTROL.pairs(two, TARGET, GUIDE) == [Pair("t3", "g0"), Pair("t2", "g1")]
    found = CONTROL.pairs(all_pairs(TARGET, GUIDE, torch.empty, sharpness=2.0), TARGET, GUIDE)
    weights = {(p.target, p.guide): p.weight for p in found}
    assert weights["t0", "g5"] == max(weights.values())
    for tap in GUIDE:
        assert sum(p.weight for p in found if p.guide == tap) == pytest.approx(1)


def test_pairs_that_stay_the_same_are_refused() -> None:
    for mapped, guide in (
        (evenly_spaced(TARGET, GUIDE[:1], torch.empty), GUIDE[:1]),
        (all_pairs(TARGET, GUIDE, torch.empty), GUIDE),
    ):
        with pytest.raises(UserError, match=r"in reverse order .* the same pairs"):
            CONTROL.pairs(mapped, TARGET, guide)


def test_pairs_that_are_not_known_yet_are_counted() -> None:
    mapped = nearest(TARGET, GUIDE, lambda: torch.zeros(6, 4))
    assert len(CONTROL.pairs(mapped, TARGET, GUIDE)) == 6
