"""Label smoothing, starts from weights, and alignment within the same number of steps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import trainers
from tests.helpers.conditions import guidance_of
from tests.helpers.rivals import treated
from trainers import rivals, tasks
from trainers.architectures import ARCHITECTURES, build_on_meta
from trainers.comparison.sides import Side
from trainers.conditions.condition import Condition, Rival
from trainers.conditions.ids import replicate_id
from trainers.conditions.schedule import AlignFirst, Schedule
from trainers.conditions.weights import REPLICATE, Weights
from trainers.errors import UserError
from trainers.guides import pretrained
from trainers.messages import silent
from trainers.rivals import RIVALS
from trainers.store.store import Store
from trainers.tasks import IGNORE

MakeCondition = Callable[..., Condition]


def test_smoothed_labels_are_those_of_pytorch(make: MakeCondition) -> None:
    rival = rivals.build(RIVALS.component("label_smoothing", smoothing=0.2))
    task = tasks.build(make("token").task)
    logits = torch.randn(3, 5, task.output.num_classes, requires_grad=True)
    labels = torch.randint(task.output.num_classes, (3, 5))
    labels[0, :3] = IGNORE
    counted = labels != IGNORE
    soft = functional.one_hot(labels[counted], task.output.num_classes) * 0.8
    soft = soft + 0.2 / task.output.num_classes
    expected = -(soft * logits[counted].log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(rival.loss(task, logits, labels), expected)


def test_a_task_with_its_own_loss_is_refused(make: MakeCondition, tmp_path: Path) -> None:
    condition = treated(make, "label_smoothing", tmp_path)
    task = copy.copy(tasks.build(condition.task))

    class Own(type(task)):  # type: ignore[misc]
        def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return super().loss(logits, labels)

    task.__class__ = Own
    network = build_on_meta(condition.target, task.input, task.output)
    assert condition.rival is not None
    with pytest.raises(UserError, match="task Own has a loss of its own"):
        rivals.check(condition.rival, network, task)


def test_metrics_are_of_the_labels_as_they_are(make: MakeCondition, tmp_path: Path) -> None:
    result = trainers.train(treated(make, "label_smoothing", tmp_path), report=silent)
    first = {p.metric: p.value for p in result.history.points if p.step == 0}
    plain = trainers.train(make(), report=silent)
    before = {p.metric: p.value for p in plain.history.points if p.step == 0}
    assert first["train/task_loss"] == before["train/task_loss"]
    assert first["train/loss"] != before["train/loss"] == before["train/task_loss"]


def test_a_start_from_a_file_has_its_numbers(make: MakeCondition, tmp_path: Path) -> None:
    still = treated(make, "from_weights", tmp_path, lr=0.0, target={"norm": "none"})
    assert still.rival is not None
    assert still.rival.weights is not None
    result = trainers.train(still, report=silent)
    given = pretrained.read_file(tmp_path / "start.safetensors")
    for name, tensor in result.network.state_dict().items():
        assert torch.equal(tensor, given[name])
    other = replace(still.rival.weights, content="0" * 64)
    changed = replace(still, treatment=replace(still.rival, weights=other))
    assert replicate_id(changed, 0) != replicate_id(still, 0)
    moved = replace(still.rival.weights, path="elsewhere", name="other")
    same = replace(still, treatment=replace(still.rival, weights=moved))
    assert replicate_id(same, 0) == replicate_id(still, 0)


def test_a_start_from_a_replicate_has_its_weights(make: MakeCondition, tmp_path: Path) -> None:
    first = trainers.train(make(target={"norm": "none"}), store=tmp_path, report=silent)
    weights = Weights(content=f"{REPLICATE}{first.replicate_id}", name=first.replicate_id)
    treatment = Rival(method=RIVALS.component("from_weights"), weights=weights)
    still = replace(make(lr=0.0, target={"norm": "none"}), treatment=treatment)
    result = trainers.train(still, store=tmp_path, report=silent)
    for name, tensor in result.network.state_dict().items():
        assert torch.equal(tensor, first.network.state_dict()[name])
    lost = replace(weights, content=f"{REPLICATE}{'0' * 16}")
    missing = replace(still, treatment=replace(treatment, weights=lost))
    with pytest.raises(UserError, match="the store has no finished replicate 0000"):
        trainers.train(missing, store=tmp_path, report=silent)
    assert pretrained.stored(Store(tmp_path), lost) is None


def test_weights_of_another_shape_are_refused(make: MakeCondition, tmp_path: Path) -> None:
    condition = treated(make, "from_weights", tmp_path)
    wider = replace(condition, target=ARCHITECTURES.component("fcn", depth=2, width=9))
    with pytest.raises(UserError, match=r"start.safetensors.*'hidden.layer1.*, not 9x256"):
        trainers.train(wider, report=silent)


def test_alignment_is_within_the_steps_of_the_training(make: MakeCondition, tmp_path: Path) -> None:
    rival = treated(make, "aligned_start", tmp_path)
    assert rival.rival is not None
    assert rival.rival.guidance is not None
    assert rival.align_steps == 2
    assert rival.train_steps(None) == 4
    result = trainers.train(rival, report=silent)
    # What guidance with `align_first` gives in as many steps, but for when it reports.
    schedule = Schedule(align_first=AlignFirst(steps=2))
    guide = rival.rival.guidance.term.guide
    guided = replace(
        make(steps=4), treatment=guidance_of(guide=guide, control="none", schedule=schedule)
    )
    longer = trainers.train(guided, report=silent)
    assert result.steps == longer.steps == 6
    assert result.metrics == longer.metrics
    with pytest.raises(UserError, match=r"steps is 6, .* has 6 in all, so none is left"):
        trainers.train(
            treated(make, "aligned_start", tmp_path, options={"steps": 6}), report=silent
        )
    cut = rival.with_steps(2)
    assert (cut.align_steps, cut.train_steps(None)) == (1, 1)
    assert treated(make, "aligned_start", tmp_path, guide_control="shuffled").role == "control"


def test_steps_of_alignment_that_cannot_be_are_one_plain_line(
    make: MakeCondition, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"^rival aligned_start: steps is 0; allowed: 1 or more"):
        rivals.build(RIVALS.component("aligned_start", steps=0))
    short = replace(make(), train=replace(make().train, epochs=None, steps=1))
    treatment = treated(make, "aligned_start", tmp_path).rival
    assert treatment is not None
    assert treatment.guidance is not None
    schedule = Schedule(align_first=AlignFirst(steps=1))
    guidance = replace(treatment.guidance, schedule=schedule)
    rival = Rival(method=RIVALS.component("aligned_start", steps=1), guidance=guidance)
    with pytest.raises(UserError, match=r"1 in all, so none is left .*; allowed: a training of 2"):
        replace(short, treatment=rival).train_steps(100)


@pytest.mark.parametrize("name", ["from_weights", "interpolated"])
def test_a_comparison_at_the_start_sees_the_rivals_own(
    make: MakeCondition, tmp_path: Path, name: str
) -> None:
    """With a learning rate of 0 a network ends as it began."""
    options = {"lr": 0.0, "target": {"norm": "none"}}
    still = treated(make, name, tmp_path, **options)
    assert still.rival is not None
    if still.rival.weights is not None:
        pretrained.put(Store(tmp_path), still.rival.weights, pretrained.obtain(still.rival.weights))
    identifier = trainers.train(still, store=tmp_path, report=silent).replicate_id
    sides = [
        Side.of(Store(tmp_path), identifier, moment).network() for moment in ("initial", "final")
    ]
    inputs = tasks.build(still.task).splits["test"].inputs[:8]
    first, last = (side.eval()(inputs.to(next(side.parameters()).device)) for side in sides)
    assert torch.equal(first, last)
