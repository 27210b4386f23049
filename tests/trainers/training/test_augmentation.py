"""Augmented training inputs, and guides that see another augmentation of the same examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import trainers
from tests.helpers.conditions import changed
from trainers import tasks
from trainers.conditions.condition import Condition
from trainers.conditions.training import TrainSettings
from trainers.controls.none import GuideSource
from trainers.runtime.streams import Streams
from trainers.tasks import TASKS
from trainers.tasks.batches import Batches

MakeCondition = Callable[..., Condition]
DIGITS = TASKS.component("translated_digits", places=1, augment="shift")
CPU = torch.device("cpu")


def batches(seed: int = 0, **options: Any) -> Batches:
    streams = Streams("target", DIGITS, TASKS.component("translated_digits"), seed)
    settings = TrainSettings(epochs=2, batch_size=100)
    return Batches(tasks.build(DIGITS), settings, streams, CPU, **options)


def test_a_shift_moves_the_image_and_nothing_else() -> None:
    task = tasks.build(DIGITS)
    image = task.train.inputs[0]
    background, seen = image.min(), set()
    for seed in range(60):
        moved = task.augment(image, torch.Generator().manual_seed(seed))
        assert moved.shape == image.shape
        shifts = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if torch.equal(rolled(image, down, right, background), moved)
        ]
        assert shifts
        seen.add(shifts[0])
    assert len(seen) > 15


def rolled(image: Any, down: int, right: int, background: Any) -> Any:
    found = torch.full_like(image, background)
    size = image.shape[-1]
    for row in range(size):
        for column in range(size):
            if 0 <= row + down < size and 0 <= column + right < size:
                found[0, row + down, column + right] = image[0, row, column]
    return found


def test_augmentation_is_a_function_of_seed_epoch_and_example() -> None:
    task, steps = tasks.build(DIGITS), 13
    first, again, other = batches(), batches(), batches(seed=1)
    by_example: dict[int, list[Any]] = {}
    for step in range(2 * steps):
        batch = first[step]
        assert torch.equal(batch.inputs, again[step].inputs)
        assert batch.examples is not None
        assert torch.equal(batch.labels, task.train.labels[batch.examples])
        for example, inputs in zip(batch.examples.tolist(), batch.inputs, strict=True):
            by_example.setdefault(example, []).append(inputs)
    assert all(len(views) == 2 for views in by_example.values())
    same = sum(torch.equal(*views) for views in by_example.values())
    # One in 25 draws the same shift twice.
    assert same < len(by_example) / 10
    assert not torch.equal(first[0].inputs, other[0].inputs)


def test_the_guide_may_see_another_augmentation_of_the_same_examples() -> None:
    same, apart = batches()[3], batches(augment_guide_separately=True)[3]
    assert same.augmented_for_guide is None
    assert same.guide_inputs is same.inputs
    assert torch.equal(apart.inputs, same.inputs)
    assert apart.examples is not None
    assert same.examples is not None
    assert torch.equal(apart.examples, same.examples)
    assert not torch.equal(apart.guide_inputs, apart.inputs)


@pytest.mark.parametrize("control", ["none", "shuffled", "input", "noise"])
def test_guidance_on_augmented_data(
    control: str, make: MakeCondition, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    original = GuideSource.features

    def spy(source: Any, batch: Any, step: int) -> Any:
        seen.append(batch)
        return original(source, batch, step)

    monkeypatch.setattr(GuideSource, "features", spy)
    condition = make(control=control, state=None if control == "input" else "untrained")
    results = {}
    for guide_inputs in ("same", "other_augmentation"):
        augmented = replace(changed(condition, guide_inputs=guide_inputs), task=DIGITS)
        results[guide_inputs] = trainers.train(augmented, report=lambda _payload: None)
    losses = {name: result.metrics["loss"] for name, result in results.items()}
    assert (losses["same"] == losses["other_augmentation"]) == (control == "noise")
    ids = {result.replicate_id for result in results.values()}
    assert len(ids) == 2
