"""The control `labels`: one-hot labels in a guide's place, by rows and at its pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import trainers
from trainers import controls, tasks
from trainers.architectures import ARCHITECTURES
from trainers.architectures.forward_pass import tap_shapes
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guide, Term
from trainers.controls import CONTROLS, SourceContext
from trainers.controls._one_hot import PROJECTED
from trainers.controls.labels import LabelSource
from trainers.distances import DISTANCES
from trainers.errors import UserError
from trainers.guides import frozen
from trainers.mappings import Pair, evenly_spaced
from trainers.runtime.streams import Streams
from trainers.tasks import IGNORE, TASKS, Classification, InputSpec, OutputSpec, Task
from trainers.tasks.batches import Batch
from trainers.training.term_loss import TermLoss

MakeCondition = Callable[..., Condition]
DIGITS = TASKS.component("translated_digits", places=1)
COPY = TASKS.component("copy_paste", length=2, symbols=3)
PARITY = TASKS.component("parity", max_length=6, train_size=40)
CKA = DISTANCES.component("linear_cka")


class Toy(Classification):
    """Specs alone."""

    def __init__(
        self, classes: int, *, per_position: bool = False, padding: int | None = None
    ) -> None:
        self.input = InputSpec(kind="tokens", shape=(3,), vocabulary=9, padding=padding)
        self.output = OutputSpec(num_classes=classes, per_position=per_position)
        self.num_train = None

    def load(self) -> Any:
        raise NotImplementedError


def source(task: Task, rows: Any = "examples", **shapes: tuple[int, ...]) -> LabelSource:
    taps = tuple(shapes) or ("tap",)
    return LabelSource(taps, task, rows, lambda: {t: torch.Size(s) for t, s in shapes.items()})


def loss_of(task: Task, rows: Any, outputs: dict[str, Tensor]) -> TermLoss:
    term = Term(
        guide=Guide(architecture=ARCHITECTURES.component("fcn"), state=None),
        control=CONTROLS.component("labels"),
        distance=CKA,
        rows=rows,
    )
    shapes = {tap: tuple(output.shape[1:]) for tap, output in outputs.items()}
    pairs = [Pair(tap, tap) for tap in outputs]
    return TermLoss(term, source(task, rows, **shapes), pairs, task)


def test_labels_are_one_hot_and_zero_where_there_is_none() -> None:
    task = Toy(4, per_position=True)
    labels = torch.tensor([[0, 3, IGNORE], [IGNORE, 1, 1]])
    found = source(task).evaluate(torch.zeros(2, 3), labels)["tap"]
    expected = torch.zeros(2, 3, 4)
    for example, time, label in [(0, 0, 0), (0, 1, 3), (1, 1, 1), (1, 2, 1)]:
        expected[example, time, label] = 1
    assert torch.equal(found, expected)
    one = source(Toy(4)).evaluate(torch.zeros(2, 3), torch.tensor([2, 0]))["tap"]
    assert torch.equal(one, torch.eye(4)[[2, 0]])


def test_many_classes_are_projected() -> None:
    task = Toy(5000, per_position=True)
    labels = torch.tensor([[17, 17, IGNORE]])
    found = source(task).evaluate(torch.zeros(1, 3), labels)["tap"]
    assert found.shape == (1, 3, PROJECTED)
    assert torch.equal(found[0, 0], found[0, 1])
    assert found[0, 0].square().sum().item() == pytest.approx(1)
    assert not found[0, 2].any()


def cka(target: Tensor, guide: Tensor) -> float:
    """1 - biased linear CKA, from centred features."""
    x, y = (f.double() - f.double().mean(0) for f in (target, guide))
    products = [(a.T @ b).square().sum() for a, b in ((x, y), (x, x), (y, y))]
    return 1 - (products[0] / (products[1] * products[2]).sqrt()).item()


@pytest.mark.parametrize("rows", ["examples", "pooled", "tokens", "positions"])
def test_distance_of_labelled_positions(rows: Any) -> None:
    """Only positions with a label are rows; where rows are examples, others show zero."""
    generator = torch.Generator().manual_seed(0)
    task = Toy(4, per_position=True)
    labels = torch.randint(4, (12, 3), generator=generator)
    labels[:, 0], labels[:6, 1], labels[11] = IGNORE, IGNORE, IGNORE
    outputs = {"t": torch.randn(12, 3, 5, generator=generator, requires_grad=True)}
    total, each = loss_of(task, rows, outputs)(outputs, Batch(torch.zeros(12, 3), labels, None), 0)
    hot = torch.zeros(12, 3, 4)
    for example, time in (labels != IGNORE).nonzero().tolist():
        hot[example, time, labels[example, time]] = 1
    target, hot, labels = outputs["t"].detach()[:11], hot[:11], labels[:11]
    scored = labels != IGNORE
    by_rows = {
        "examples": lambda: cka(target.flatten(1), hot.flatten(1)),
        "pooled": lambda: cka(target.mean(1), hot.mean(1)),
        "tokens": lambda: cka(target[scored], hot[scored]),
        "positions": lambda: sum(
            cka(target[scored[:, t], t], hot[scored[:, t], t]) for t in (1, 2)
        ) / 2,
    }  # fmt: skip
    assert each.item() == pytest.approx(by_rows[rows](), abs=1e-5)
    total.backward()
    assert outputs["t"].grad is not None
    assert not outputs["t"].grad[11].any()


def test_padding_and_positions_without_a_label_take_no_part() -> None:
    task = Toy(4, padding=8)
    inputs = torch.tensor([[1, 2, 8], [3, 8, 8], [1, 1, 1], [2, 8, 8], [1, 2, 3]])
    labels = torch.tensor([0, 1, 0, 1, IGNORE])
    outputs = {"t": torch.randn(5, 3, 6, requires_grad=True)}
    for rows in ("tokens", "examples", "pooled"):
        _, each = loss_of(task, rows, outputs)(outputs, Batch(inputs, labels, None), 0)
        target, kept = outputs["t"].detach()[:4], (inputs != 8)[:4]
        hot = torch.eye(4)[labels[:4]]
        masked = target * kept[..., None]
        pooled = masked.sum(1) / kept.sum(1, keepdim=True)
        expected = {
            "tokens": lambda: cka(target[kept], hot[:, None].expand(-1, 3, -1)[kept]),  # noqa: B023
            "examples": lambda: cka(masked.flatten(1), hot),  # noqa: B023
            "pooled": lambda: cka(pooled, hot),  # noqa: B023
        }[rows]()
        assert each.item() == pytest.approx(expected, abs=1e-5)


def test_an_example_s_label_stands_at_each_place_of_its_tap() -> None:
    task = tasks.build(DIGITS)
    labels = torch.tensor([3, 1, 3, 7, 1, 0])
    outputs = {"t": torch.randn(6, 5, 2, 2, requires_grad=True)}
    batch = Batch(torch.zeros(6, *task.input.shape), labels, None)
    _, each = loss_of(task, "tokens", outputs)(outputs, batch, 0)
    rows = outputs["t"].detach().flatten(2).transpose(1, 2).flatten(0, 1)
    expected = cka(rows, torch.eye(10)[labels.repeat_interleave(4)])
    assert each.item() == pytest.approx(expected, abs=1e-5)
    _, each = loss_of(task, "positions", outputs)(outputs, batch, 0)
    at = [outputs["t"].detach()[:, :, i, j] for i in (0, 1) for j in (0, 1)]
    expected = sum(cka(place, torch.eye(10)[labels]) for place in at) / 4
    assert each.item() == pytest.approx(expected, abs=1e-5)


def test_the_last_pair_is_that_of_the_deepest_target_tap() -> None:
    target, guide = ("t0", "t1", "t2"), ("g0", "g1", "g2", "g3")
    mapped = evenly_spaced(target, guide, torch.empty)
    last = controls.build(CONTROLS.component("labels"))
    assert last.pairs(mapped, target, guide) == [Pair("t2", "g3")]
    backwards = [Pair("t2", "g0"), Pair("t2", "g1"), Pair("t0", "g3")]
    assert last.pairs(backwards, target, guide) == [Pair("t2", "g1")]
    everywhere = controls.build(CONTROLS.component("labels", at="all"))
    assert everywhere.pairs(mapped, target, guide) == mapped
    with pytest.raises(UserError, match="control 'labels': at is first; allowed: last, all"):
        CONTROLS.component("labels", at="first")


@pytest.mark.parametrize("rows", ["examples", "pooled", "tokens", "positions"])
@pytest.mark.parametrize("task", [DIGITS, COPY, PARITY])
def test_it_shows_what_it_says(task: Any, rows: Any) -> None:
    built = tasks.build(task)
    architecture = ARCHITECTURES.component("resnet2d" if task == DIGITS else "rnn")
    shapes = tap_shapes(architecture, built.input, built.output, ("stem",) if task == DIGITS else
                        ("layers.layer1",))  # fmt: skip
    said = controls.build(CONTROLS.component("labels")).shown(
        built, rows, {t: torch.empty(3, *s, device="meta") for t, s in shapes.items()}
    )
    context = SourceContext(
        task=built, taps=tuple(shapes), rows=rows, shapes=lambda: shapes,
        streams=Streams("target", task, architecture, 0),
    )  # fmt: skip
    inputs, labels = built.validation
    shown = (
        controls.build(CONTROLS.component("labels"))
        .source(context)
        .evaluate(inputs[:3], labels[:3])
    )
    assert {t: f.shape for t, f in shown.items()} == {t: f.shape for t, f in said.items()}


@pytest.mark.parametrize("kind", ["image", "token"])
@pytest.mark.parametrize("control", ["labels", "input", "uniform"])
def test_controls_without_a_guide_run_none(
    kind: str, control: str, make: MakeCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("forward", "evaluate", "forward_shared", "forward_all"):
        monkeypatch.setattr(frozen.FrozenGuide, name, lambda *_: pytest.fail("the guide runs"))
    rows = {"rows": "tokens" if kind == "token" or control == "uniform" else "examples"}
    if control == "uniform":
        rows["rows"] = "tokens" if kind == "token" else "examples"
    distance = DISTANCES.component("distillation") if control == "uniform" else CKA
    condition = make(kind, control=control, state=None, guidance={"distance": distance} | rows)
    result = trainers.train(condition, report=lambda _: None)
    assert result.steps == 6


def test_it_lifts_the_alignment_with_the_labels(make: MakeCondition) -> None:
    condition = make(control="labels", state=None, alpha=20.0, steps=40, lr=0.05)
    unguided = make(control="labels", state=None, alpha=0.0, steps=40, lr=0.05)
    ends = []
    for each in (condition, unguided):
        history = trainers.train(each, report=lambda _: None).history
        ends.append([p.value for p in history.points if p.metric.startswith("distance/")][-1])
    assert ends[0] < ends[1] - 0.05
