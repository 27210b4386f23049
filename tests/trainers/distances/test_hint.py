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
from tests.helpers.conditions import changed, term_of
from trainers import distances
from trainers.conditions.condition import Condition
from trainers.distances import DISTANCES
from trainers.mappings import Pair
from trainers.store import checkpoint
from trainers.store.store import Store
from trainers.tasks.batches import Batch
from trainers.tasks.copy_paste import CopyPaste
from trainers.training.loop import Run
from trainers.training.term_loss import TermLoss

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


def test_positions_that_count_have_their_own_map(make: MakeCondition) -> None:
    """With padding, each position is compared over the examples that have it."""
    condition = make("token", control="none")
    distance = DISTANCES.component("hint", scaling="absolute")
    term = replace(term_of(condition), distance=distance, rows="positions")
    task = Padded()
    mask = task.mask(task.validation.inputs[:6])
    outputs, shown = features(6, 5, 4).requires_grad_(), features(6, 5, 3, seed=1)
    loss = TermLoss(term, Shown(shown), [Pair("t", "g")], task)
    loss.connect({"t": outputs}, {"g": shown})
    batch = Batch(task.validation.inputs[:6], task.validation.labels[:6], None)
    value, _ = loss({"t": outputs}, batch, 0)
    (hint,) = loss.learned
    assert isinstance(hint, distances.Distance)
    positions = [t for t in range(5) if mask[:, t].any()]
    assert len(positions) == 4
    each = [hint(outputs[mask[:, t], t], shown[mask[:, t], t]) for t in positions]
    torch.testing.assert_close(value, torch.stack(each).mean())


class Padded(CopyPaste):
    """A task whose last position is padding, and the first one in some examples."""

    def __init__(self) -> None:
        super().__init__(length=2, symbols=3)

    def mask(self, inputs: torch.Tensor) -> torch.Tensor:
        mask = torch.ones(inputs.shape, dtype=torch.bool)
        mask[:, -1] = False
        mask[::2, 0] = False
        return mask


class Shown:
    """Guide features as given."""

    def __init__(self, values: torch.Tensor) -> None:
        self.taps: tuple[str, ...] = ("g",)
        self.values = values

    def features(self, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        return {"g": self.values}

    def evaluate(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"g": self.values}


@pytest.fixture
def hinted(make: MakeCondition) -> Condition:
    condition = make(control="none", steps=40, report_every=10)
    return changed(condition, distance=DISTANCES.component("hint"))


def quiet(_payload: dict[str, Any]) -> None:
    pass


def test_the_map_is_learned_with_the_target(
    hinted: Condition, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, Any]] = []
    original = Run.finish

    def spy(run: Run, *saver: Any) -> Any:
        assert run.guided_loss is not None
        seen.append((run, [p.clone() for p in run.guided_loss.learned.parameters()]))
        return original(run, *saver)

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
    replicate = Store(tmp_path).replicate_of(hinted, 0)
    saved = checkpoint.load(replicate, replicate.history())
    assert saved is not None
    assert saved.learned
    same_result(whole, trainers.train(hinted, store=tmp_path, report=quiet))
