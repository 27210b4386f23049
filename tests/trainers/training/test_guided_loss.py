"""The loss of several guides: the sum of their distances, with the target's part made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tests.helpers.conditions import term_of
from trainers import distances, tasks
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Term
from trainers.distances import DISTANCES
from trainers.mappings import evenly_spaced
from trainers.tasks import TASKS
from trainers.tasks.batches import Batch
from trainers.training.guided_loss import GuidedLoss
from trainers.training.term_loss import TermLoss

TASK = tasks.build(TASKS.component("translated_digits"))
N, WIDTH = 8, 20
BATCH = Batch(torch.zeros(N, 1), torch.zeros(N), None)
#: After the first steps, in which each term looks for its gradient.
STEP = 100


class Fixed:
    """Features (N, q) of two guide taps."""

    taps = ("x", "y")

    def __init__(self, seed: int, width: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.values = {tap: torch.randn(N, width, generator=generator) for tap in self.taps}

    def features(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self.values


@pytest.fixture(params=["biased", "unbiased", "narrow", "rsa"])
def terms(request: pytest.FixtureRequest, make: Callable[..., Condition]) -> list[TermLoss]:
    """Two guides of a target with taps of two dimensions, of `WIDTH` features each or of one."""
    options: dict[str, Any] = {"unbiased": {"unbiased": True}}.get(request.param, {})
    name = "rsa" if request.param == "rsa" else "linear_cka"
    term: Term = replace(
        term_of(make(control="none")), distance=DISTANCES.component(name, **options)
    )
    width = 1 if request.param == "narrow" else WIDTH
    return [
        TermLoss(term, Fixed(seed, width), evenly_spaced(("a", "b"), Fixed.taps, torch.empty), TASK)
        for seed in (1, 2)
    ]


def outputs_of(terms: list[TermLoss]) -> dict[str, Tensor]:
    narrow = terms[0].source.values["x"].shape[-1] == 1  # type: ignore[attr-defined]
    shape = (N, 2, 1) if narrow else (N, 2, WIDTH // 2)
    generator = torch.Generator().manual_seed(0)
    return {tap: torch.randn(shape, generator=generator, requires_grad=True) for tap in "ab"}


def test_bits_are_those_of_each_guide(terms: list[TermLoss]) -> None:
    outputs = outputs_of(terms)
    both = GuidedLoss(terms)(outputs, BATCH, STEP)
    alone = [term(outputs, BATCH, STEP)[0] for term in terms]
    assert both.by_term == tuple(total.detach() for total in alone)
    gradients = [
        torch.autograd.grad(total, list(outputs.values())) for total in (both.total, sum(alone))
    ]
    for found, expected in zip(*gradients, strict=True):
        assert torch.equal(found, expected)


def test_the_targets_products_are_made_once(terms: list[TermLoss]) -> None:
    if type(terms[0].distance).__name__ != "LinearCKA":
        pytest.skip("other distances make the target's side for each guide")
    outputs = outputs_of(terms)

    def products(call: Callable[[], object]) -> int:
        with FlopCounterMode(display=False) as counter:
            call()
        return counter.get_total_flops()

    both = products(lambda: GuidedLoss(terms)(outputs, BATCH, STEP))
    each = sum(products(lambda term=term: term(outputs, BATCH, STEP)) for term in terms)
    p = outputs["a"].flatten(1).shape[1]
    smaller = min(N, p)
    assert both == each - len(outputs) * 2 * smaller**2 * max(N, p)


def test_nothing_is_shared_between_steps(terms: list[TermLoss]) -> None:
    outputs, loss = outputs_of(terms), GuidedLoss(terms)
    before = loss(outputs, BATCH, STEP).total
    with torch.no_grad():
        for output in outputs.values():
            output.mul_(2).add_(torch.eye(N, output.shape[-1])[:, None])
    after = loss(outputs, BATCH, STEP).total
    assert not torch.equal(before, after)
    assert torch.equal(after, sum(term(outputs, BATCH, STEP)[0] for term in terms))


def test_what_changed_in_place_is_made_again() -> None:
    features = torch.ones(2)
    with distances.shared_sides():
        first = distances.shared_side([features], "sum", features.sum)
        assert distances.shared_side([features.view(2)], "sum", lambda: torch.zeros(())) is first
        assert distances.shared_side([features], "mean", features.mean) == 1
        features += 1
        assert distances.shared_side([features], "sum", features.sum) == 4
    assert distances.shared_side([features], "sum", lambda: torch.zeros(())) == 0
