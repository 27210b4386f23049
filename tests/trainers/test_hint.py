"""FitNets hints: the learned map, its loss, and training with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import trainers
from trainers import checkpoint, distances
from trainers.condition import Condition
from trainers.distances import DISTANCES
from trainers.run import Run
from trainers.store import Store

MakeCondition = Callable[..., Condition]


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scaling", ["absolute", "relative"])
def test_it_is_the_error_of_the_map(scaling: Any) -> None:
    hint = distances.create("hint", scaling=scaling).connect(6, 9)
    assert isinstance(hint, nn.Module)
    target, guide = features(24, 6).requires_grad_(), 3 + 5 * features(24, 9, seed=1)
    expected = functional.mse_loss(hint.map(target), guide)  # type: ignore[operator]
    if scaling == "relative":
        expected = expected / guide.var(0, unbiased=False).mean()
    value = hint(target, guide)
    torch.testing.assert_close(value, expected)
    value.backward()
    for tensor in (target, *hint.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
    torch.testing.assert_close(hint(target, hint.prepare(guide)), value)
    both = hint.each(torch.stack((target, target)), [torch.stack((guide, guide + 1))])
    torch.testing.assert_close(both[0], (value + hint(target, guide + 1)) / 2)


def test_zero_at_perfect_agreement() -> None:
    hint = distances.create("hint").connect(6, 9)
    target = features(24, 6)
    assert hint(target, hint.map(target).detach()) == 0  # type: ignore[attr-defined]


def test_a_guide_without_variance_is_at_one_without_gradient() -> None:
    hint = distances.create("hint").connect(6, 9)
    target = features(24, 6).requires_grad_()
    value = hint(target, torch.ones(24, 9))
    value.backward()
    assert value == 1
    assert target.grad is not None
    assert not target.grad.any()


def test_it_must_be_connected() -> None:
    with pytest.raises(ValueError, match=r"hint learns .* connect\(p, q\) first"):
        distances.create("hint")(features(24, 6), features(24, 9))


@pytest.fixture
def hinted(make: MakeCondition) -> Condition:
    condition = make(control="none", steps=40, report_every=10)
    assert condition.guidance is not None
    guidance = replace(condition.guidance, distance=DISTANCES.component("hint"))
    return replace(condition, guidance=guidance)


def quiet(_payload: dict[str, Any]) -> None:
    pass


def test_the_map_is_learned_with_the_target(
    hinted: Condition, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, Any]] = []
    original = Run.finish

    def spy(run: Run, replicate: Any) -> Any:
        assert run.guided_loss is not None
        seen.append((run, [p.clone() for p in run.guided_loss.learned.parameters()]))
        return original(run, replicate)

    monkeypatch.setattr(Run, "finish", spy)
    result = trainers.train(hinted, report=quiet)
    ((run, learned),) = seen
    assert run.guided_loss is not None
    # A map a pair, as wide as the taps.
    assert len(learned) == 2 * len(run.guided_loss.pairs)
    distance = {p.step: p.value for p in result.history.points if p.metric == "train/distance"}
    assert distance[40] < 0.8 * distance[0]
    # The network is the architecture's, nothing more.
    assert not any("map" in name for name in result.network.state_dict())


def test_resumed_is_undisturbed(
    hinted: Condition, reports: Any, interruption: type[Exception], same_result: Any, tmp_path: Any
) -> None:
    whole = trainers.train(hinted, report=quiet)
    with pytest.raises(interruption):
        trainers.train(hinted, store=tmp_path, report=reports(interrupt_at=20))
    saved = checkpoint.load(Store(tmp_path).replicate_of(hinted, 0))
    assert saved is not None
    assert saved.learned
    same_result(whole, trainers.train(hinted, store=tmp_path, report=quiet))
