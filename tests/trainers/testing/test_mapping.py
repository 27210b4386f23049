"""The contract of mappings takes a good one, and says by name what is wrong with others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainers.mappings import Pair, register
from trainers.testing import ContractError, check_mapping, mapping_rules

pytestmark = pytest.mark.usefixtures("registries")


def good(target: Any, guide: Any, similarity: Any, *, k: int = 1) -> list[Pair]:
    """The first `k` taps of both."""
    if not 1 <= k <= min(len(target), len(guide)):
        raise ValueError(f"k is {k}")
    return [Pair(*taps) for taps in zip(target[:k], guide[:k], strict=True)]


def without_docstring(target: Any, guide: Any, similarity: Any) -> list[Pair]:
    return good(target, guide, similarity)


def unknown(target: Any, guide: Any, similarity: Any) -> list[Pair]:
    """A tap of another network."""
    return [Pair("elsewhere", guide[0])]


def twice(target: Any, guide: Any, similarity: Any) -> list[Pair]:
    """The first taps, twice."""
    return good(target, guide, similarity) * 2


def negative(target: Any, guide: Any, similarity: Any) -> list[Pair]:
    """The first taps, driven apart."""
    return [Pair(target[0], guide[0], -1.0)]


def similar(target: Any, guide: Any, similarity: Any) -> list[Pair]:
    """Taps that are more similar than half, and the first."""
    found = (similarity() > 0.5).nonzero().tolist()
    return [Pair(target[t], guide[g]) for g, t in [[0, 0], *[p for p in found if p != [0, 0]]]]


def drawn(target: Any, guide: Any, similarity: Any) -> list[Pair]:
    """A tap of PyTorch's global generator."""
    return [Pair(target[0], guide[int(torch.rand(()) * 1e6) % len(guide)])]


def any_number(target: Any, guide: Any, similarity: Any, *, k: int = 1) -> list[Pair]:
    """The first `k` taps of both, at least one."""
    return good(target, guide, similarity, k=max(k, 1))


BROKEN: dict[str, Callable[..., list[Pair]]] = {
    "says_what_it_is": without_docstring,
    "taps_exist": unknown,
    "no_pair_is_given_twice": twice,
    "weights_are_positive": negative,
    "their_number_is_planned": similar,
    "pairs_follow_from_the_taps": drawn,
    "bad_options_are_refused": any_number,
}


def test_a_good_one_breaks_nothing() -> None:
    register("good")(good)
    check_mapping(good)
    assert mapping_rules("good") == list(BROKEN)


@pytest.mark.parametrize("rule", BROKEN)
def test_what_breaks_a_rule_is_told(rule: str) -> None:
    register("broken")(BROKEN[rule])
    with pytest.raises(ContractError, match=f"- {rule}: .*Reason: ") as caught:
        check_mapping("broken")
    assert caught.value.broken == (rule,)
    with pytest.raises(ContractError, match="breaks 1 of 1 rules"):
        check_mapping(BROKEN[rule], rule=rule)
