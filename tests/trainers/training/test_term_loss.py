"""The mapping of taps, the rows of a distance, and the loss they add up to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.conditions import term_of
from trainers import distances, tasks
from trainers.architectures import taps
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Term
from trainers.mappings import Pair, evenly_spaced
from trainers.tasks import TASKS, Task
from trainers.tasks.batches import Batch
from trainers.training.term_loss import TermLoss

MakeCondition = Callable[..., Condition]
DIGITS = tasks.build(TASKS.component("translated_digits"))
COPY = tasks.build(TASKS.component("copy_paste"))
BATCH = Batch(torch.zeros(8, 1), torch.zeros(8), None)


@pytest.mark.parametrize(
    ("num_guide", "num_target", "targets"),
    [
        (6, 4, [0, 1, 1, 2, 2, 3]),
        (4, 6, [0, 2, 3, 5]),
        (3, 3, [0, 1, 2]),
        (2, 5, [0, 4]),
        (1, 4, [3]),
        (3, 1, [0, 0, 0]),
        (1, 1, [0]),
        (9, 2, [0, 0, 0, 0, 0, 1, 1, 1, 1]),
    ],
)
def test_evenly_spaced(num_guide: int, num_target: int, targets: list[int]) -> None:
    guide = [f"g{i}" for i in range(num_guide)]
    pairs = evenly_spaced([f"t{i}" for i in range(num_target)], guide, torch.empty)
    assert pairs == [Pair(f"t{t}", g) for t, g in zip(targets, guide, strict=True)]


class Fixed:
    """Guide features that were drawn once."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        generator = torch.Generator().manual_seed(1)
        self.taps = tuple(shapes)
        self.values = {tap: torch.randn(s, generator=generator) for tap, s in shapes.items()}

    def features(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self.values

    def evaluate(self, inputs: Tensor) -> dict[str, Tensor]:
        return self.values


def loss_of(term: Term, source: Any, target_taps: tuple[str, ...], task: Task = DIGITS) -> TermLoss:
    pairs = evenly_spaced(target_taps, source.taps, torch.empty)
    return TermLoss(term, source, pairs, task)


@pytest.fixture
def term(make: MakeCondition) -> Term:
    return term_of(make(control="none"))


def random_outputs(*shapes: tuple[int, ...]) -> dict[str, Tensor]:
    return {f"t{i}": torch.randn(s, requires_grad=True) for i, s in enumerate(shapes)}


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_every_pair_counts(reduction: Any, term: Term) -> None:
    source = Fixed({"a": (8, 3), "b": (8, 2, 2), "c": (8, 5), "d": (8, 4)})
    outputs = random_outputs((8, 6), (8, 3, 3))
    loss = loss_of(replace(term, reduction=reduction), source, tuple(outputs))
    total, each = loss(outputs, BATCH, 0)
    # By the mapping: a and b meet t0, c and d meet t1.
    cka = distances.create("linear_cka")
    expected = {
        Pair(t, g): cka(outputs[t].flatten(1), source.values[g].flatten(1)).item()
        for t, g in [("t0", "a"), ("t0", "b"), ("t1", "c"), ("t1", "d")]
    }
    assert dict(zip(loss.pairs, each.tolist(), strict=True)) == pytest.approx(expected)
    scale = 1 if reduction == "sum" else 4
    assert total.item() == pytest.approx(sum(expected.values()) / scale, rel=1e-6)
    assert not each.requires_grad
    total.backward()
    assert all(output.grad is not None and output.grad.any() for output in outputs.values())


def test_taps_that_show_the_same_tensor_are_prepared_once(
    term: Term, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Fixed({"a": (8, 9), "b": (8, 9), "c": (8, 9)})
    source.values["b"] = source.values["a"]
    loss = loss_of(term, source, ("t0", "t1"))
    outputs = random_outputs((8, 6), (8, 7))
    guides: list[int] = []
    original = loss.distance.all

    def spy(targets: Any, given: Any, guide_indices: Any) -> Tensor:
        guides.append(len(given))
        return original(targets, given, guide_indices)

    monkeypatch.setattr(loss.distance, "all", spy)
    _, each = loss(outputs, BATCH, 0)
    cka = distances.create("linear_cka")
    expected = [cka(outputs[pair.target], source.values[pair.guide]).item() for pair in loss.pairs]
    assert each.tolist() == pytest.approx(expected)
    # The first call also looks whether a gradient reaches the target.
    assert guides == [2, 2]


def test_pairs_are_named_by_target_and_guide() -> None:
    assert Pair("hidden.layer1", "pool").metric == "distance/hidden.layer1/pool"


@pytest.mark.parametrize("rows", ["examples", "positions", "tokens"])
def test_rows(rows: Any, term: Term) -> None:
    source = Fixed({"g": (8, 5, 4)})
    outputs = random_outputs((8, 5, 3))
    target, guide = outputs["t0"].detach(), source.values["g"]
    cka = distances.create("linear_cka")
    expected = {
        "examples": lambda: cka(target.reshape(8, 15), guide.reshape(8, 20)),
        "tokens": lambda: cka(target.reshape(40, 3), guide.reshape(40, 4)),
        "positions": lambda: torch.stack([cka(target[:, i], guide[:, i]) for i in range(5)]).mean(),
    }
    total, _ = loss_of(replace(term, rows=rows), source, ("t0",), COPY)(outputs, BATCH, 0)
    assert total.item() == pytest.approx(expected[rows]().item(), rel=1e-5)


def test_shapes_of_rows() -> None:
    output = torch.arange(2 * 3 * 4).reshape(2, 3, 4)
    assert taps.to_rows(output, "examples", "tokens").shape == (2, 12)
    assert taps.to_rows(output, "tokens", "tokens").shape == (6, 4)
    assert taps.to_rows(output, "positions", "tokens").shape == (3, 2, 4)
    assert torch.equal(taps.to_rows(output, "tokens", "tokens")[4], output[1, 1])
    assert torch.equal(taps.to_rows(output, "positions", "tokens")[2, 1], output[1, 2])
    assert torch.equal(taps.to_rows(output, "examples", "tokens")[1, 4:8], output[1, 1])


def test_recording_ends_with_its_context() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    with taps.record(network, ["0", "1"]) as outputs:
        network(torch.ones(1, 2))
        assert list(outputs) == ["0", "1"]
        outputs.clear()
    network(torch.ones(1, 2))
    assert outputs == {}
    with pytest.raises(ValueError, match="unknown submodule '2'"):
        taps.record(network, ["2"]).__enter__()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_pooled_in_float32(dtype: torch.dtype, masked: bool) -> None:
    """A sum of 401 positions would stand still in bfloat16, which has no 401 either."""
    output = (1 + torch.rand(3, 401, 5)).to(dtype)
    mask = torch.ones(3, 401, dtype=torch.bool) if masked else None
    rows = taps.to_rows(output, "pooled", "tokens", mask)
    torch.testing.assert_close(rows, output.float().mean(1), rtol=1e-5, atol=1e-5)
