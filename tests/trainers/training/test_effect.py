"""Guidance that cannot change the target says so; it never passes for a baseline in silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import trainers
from tests.helpers.conditions import term_of
from trainers import architectures, distances
from trainers.architectures.fcn import FullyConnected
from trainers.conditions.condition import Condition
from trainers.distances import DISTANCES, Distance
from trainers.mappings import Pair
from trainers.tasks import TASKS
from trainers.tasks import build as build_task
from trainers.tasks.batches import Batch
from trainers.training.term_loss import NoEffectError, TermLoss

MakeCondition = Callable[..., Condition]
DIGITS = build_task(TASKS.component("translated_digits", places=1))
BATCH = Batch(torch.zeros(8, 1), torch.zeros(8), None)


class Shows:
    """A guide that shows the same features at each step."""

    def __init__(self, features: Tensor) -> None:
        self.taps, self._features = ("g",), features

    def features(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return {"g": self._features}

    def evaluate(self, inputs: Tensor) -> dict[str, Tensor]:
        return self.features(BATCH, 0)


@pytest.fixture
def loss_of(make: MakeCondition) -> Callable[..., TermLoss]:
    term = term_of(make(control="none"))

    def loss(
        features: Tensor, taps: tuple[str, ...] = ("t",), every: int = 1, **changes: Any
    ) -> TermLoss:
        pairs = [Pair(tap, "g") for tap in taps]
        return TermLoss(replace(term, **changes), Shows(features), pairs, DIGITS, every=every)

    return loss


def rows(n: int = 8, p: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(n, p, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "output",
    [rows(), rows().requires_grad_().detach(), torch.randint(5, (8, 5))],
    ids=["frozen", "detached", "integers"],
)
def test_taps_that_no_gradient_reaches(output: Tensor, loss_of: Callable[..., TermLoss]) -> None:
    loss = loss_of(rows(seed=1), taps=("good", "t"))
    outputs = {"good": rows().requires_grad_() * 1, "t": output}
    with pytest.raises(NoEffectError, match="no gradient reaches the target through tap 't'"):
        loss(outputs, BATCH, 0)


@pytest.mark.parametrize(
    ("target", "guide"),
    [
        (rows(8).requires_grad_(), torch.ones(8, 4)),
        (torch.ones(8, 5, requires_grad=True), rows(8, seed=1)),
        (rows(1).requires_grad_(), rows(1, seed=1)),
    ],
    ids=["dead guide", "collapsed target", "one row"],
)
def test_a_distance_that_stays_constant(
    target: Tensor, guide: Tensor, loss_of: Callable[..., TermLoss]
) -> None:
    loss = loss_of(guide)
    for step in range(9):
        loss({"t": target * 1}, BATCH, step)
    with pytest.raises(NoEffectError, match=r"distance LinearCKA is constant .* in 10 steps"):
        loss({"t": target * 1}, BATCH, 9)


def test_a_distance_that_stays_constant_in_its_guided_steps(
    loss_of: Callable[..., TermLoss],
) -> None:
    loss = loss_of(torch.ones(8, 4), every=8)
    for step in range(0, 72, 8):
        loss({"t": rows().requires_grad_() * 1}, BATCH, step)
    with pytest.raises(NoEffectError, match="gradient 0 in 10 steps"):
        loss({"t": rows().requires_grad_() * 1}, BATCH, 72)


def test_a_gradient_that_comes_late(loss_of: Callable[..., TermLoss]) -> None:
    """A network may begin with zeros."""
    loss = loss_of(rows(seed=1))
    dead, alive = torch.ones(8, 5, requires_grad=True), rows().requires_grad_()
    for step in range(5):
        loss({"t": dead * 1}, BATCH, step)
    loss({"t": alive * 1}, BATCH, 5)
    for step in range(6, 30):
        loss({"t": dead * 1}, BATCH, step)


def test_a_distance_that_ignores_the_target(
    loss_of: Callable[..., TermLoss], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ignores(Distance):
        def forward(self, target: Tensor, guide: Tensor) -> Tensor:
            return guide.square().mean((-2, -1))

    loss = loss_of(rows(seed=1))
    loss.distance = Ignores()
    with pytest.raises(NoEffectError, match="distance Ignores is constant"):
        loss({"t": rows().requires_grad_() * 1}, BATCH, 0)


def test_a_distance_that_overwrites_activations(loss_of: Callable[..., TermLoss]) -> None:
    class Overwrites(Distance):
        def forward(self, target: Tensor, guide: Tensor) -> Tensor:
            return (target - guide).square().mean((-2, -1))

        def forward_each(self, target: Tensor, guides: Any) -> Tensor:
            target.sub_(1.0)
            return super().forward_each(target, guides)

    loss = loss_of(rows(seed=1))
    loss.distance = Overwrites()
    with pytest.raises(ValueError, match="distance Overwrites changes features in place"):
        loss({"t": rows().requires_grad_() * 1}, BATCH, 0)


def test_the_look_costs_no_bits(loss_of: Callable[..., TermLoss]) -> None:
    found = []
    loss = loss_of(rows(seed=1))
    # Only the first call looks, as it finds a gradient.
    for _ in range(2):
        leaf = rows().requires_grad_()
        total, _ = loss({"t": leaf * 1}, BATCH, 0)
        total.backward()
        found.append((total.item(), leaf.grad))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("name", DISTANCES.names())
@pytest.mark.parametrize("unbiased", [False, True])
def test_a_distance_guides_from_its_fewest_rows_on(name: str, unbiased: bool) -> None:
    if unbiased and "unbiased" not in DISTANCES[name].defaults:
        return
    distance = distances.create(name, **({"unbiased": True} if unbiased else {}))

    def pull(n: int) -> float:
        """How far the distance falls along its gradient, scale left out."""
        width = 1 if name == "linear_regression" else 6
        target, guide = rows(n, width).requires_grad_(), rows(n, width, seed=1)
        compared = distance.connect(width, width) if distance.learns else distance
        (gradient,) = torch.autograd.grad(compared(target, guide), target)
        return float(gradient.norm() * target.detach().norm())

    torch.manual_seed(0)
    assert pull(distance.guiding_rows) > 1e-3
    for n in range(distance.min_rows, distance.guiding_rows):
        assert pull(n) < 1e-5, n


class Detached(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.detach()


@pytest.mark.usefixtures("registries")
def test_a_replicate_fails_and_says_why(make: MakeCondition) -> None:
    def detached(input: Any, output: Any, *, width: int = 8) -> FullyConnected:
        network: Any = architectures.build(
            architectures.ARCHITECTURES.component("fcn", depth=2, width=width), input, output
        )
        network.hidden["layer2"].append(Detached())
        return network

    architectures.register("of_a_test", inputs=("image", "signal"))(detached)
    condition = replace(
        make(control="none"), target=architectures.ARCHITECTURES.component("of_a_test")
    )
    with pytest.raises(NoEffectError, match="no gradient reaches the target through tap"):
        trainers.train(condition, report=lambda _payload: None)
