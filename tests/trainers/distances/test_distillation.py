"""Distillation of answers: its formula, its controls, and training with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import trainers
from tests.helpers.conditions import changed
from trainers import distances
from trainers.conditions.condition import Condition
from trainers.distances import DISTANCES
from trainers.guides.pool import GuidePool
from trainers.messages import silent
from trainers.training import train
from trainers.training.loop import Run
from trainers.training.setup import RunSetup

MakeCondition = Callable[..., Condition]


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_it_is_hintons_loss(temperature: float) -> None:
    distance = distances.create("distillation", temperature=temperature)
    target, guide = logits(20, 5).requires_grad_(), 2 * logits(20, 5, seed=1)
    expected = temperature**2 * functional.kl_div(
        functional.log_softmax(target / temperature, -1),
        functional.softmax(guide / temperature, -1),
        reduction="batchmean",
    )
    torch.testing.assert_close(distance(target, guide), expected)
    assert distance(guide, guide) == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(distance(target, guide + 7), distance(target, guide))


def test_gradient_and_hard_answers() -> None:
    distance = distances.create("distillation")
    target, guide = logits(6, 3).double().requires_grad_(), logits(6, 3, seed=1).double()
    assert torch.autograd.gradcheck(lambda t: distance(t, guide), target)
    extreme = torch.tensor([[1e4, 0.0], [0.0, 1e4]], requires_grad=True)
    value = distance(extreme, -extreme.detach())
    value.backward()
    assert value.isfinite()
    assert extreme.grad is not None
    assert extreme.grad.isfinite().all()


def test_a_uniform_guide_is_label_smoothing() -> None:
    distance = distances.create("distillation", temperature=1.0)
    target = logits(20, 5)
    smoothing = functional.cross_entropy(target, torch.full((20, 5), 0.2)) - torch.tensor(5.0).log()
    torch.testing.assert_close(distance(target, torch.zeros(20, 5)), smoothing)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="temperature is 0"):
        distances.create("distillation", temperature=0)
    with pytest.raises(ValueError, match="answers among 3 classes, the guide among 4"):
        distances.create("distillation")(logits(6, 3), logits(6, 4))


def distilled(make: MakeCondition, kind: str, control: str, state: str | None) -> Condition:
    condition = make(kind, control=control, state=state, report_every=6)
    assert condition.guidance is not None
    rows: Any = "tokens" if kind == "token" else "examples"
    distance = DISTANCES.component("distillation")
    return changed(condition, distance=distance, rows=rows)


@pytest.mark.processes
@pytest.mark.parametrize("kind", ["image", "token"])
@pytest.mark.parametrize(
    ("control", "state"),
    [("none", "trained"), ("none", "untrained"), ("shuffled", "trained"), ("noise", "untrained"),
     ("uniform", None)],
)  # fmt: skip
def test_training(kind: str, control: str, state: str | None, make: MakeCondition) -> None:
    condition = distilled(make, kind, control, state)
    result = trainers.train(condition, report=lambda _payload: None)
    metrics = {p.metric: p.value for p in result.history.points if p.step == 6}
    assert metrics["distance/logits/logits"] == metrics["train/distance"] > 0
    assert metrics["train/loss"] == pytest.approx(
        metrics["train/task_loss"] + metrics["train/distance"], rel=1e-5
    )


def test_positions_that_are_not_scored_take_no_part(make: MakeCondition) -> None:
    condition = distilled(make, "token", "uniform", None)
    setup = RunSetup.of(condition, 0)
    run = Run(setup, train.guide_sources(setup, None, GuidePool()), silent)
    batch = run.batches[0]
    assert run.guided_loss is not None
    answers = torch.randn(*batch.labels.shape, 3, requires_grad=True)
    value = run.guided_loss({"logits": answers}, batch, 0).total
    changed = torch.where(batch.labels[..., None] < 0, 100.0 * torch.rand(3), answers)
    assert run.guided_loss({"logits": changed}, batch, 0)[0] == value
