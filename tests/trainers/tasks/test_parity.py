"""Parity: its strings, its splits, and that networks of its two architectures learn it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainers import tasks
from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition
from trainers.conditions.training import TrainSettings
from trainers.tasks import TASKS
from trainers.tasks.parity import DISJOINT_LENGTH, PADDING
from trainers.training.train import train


def long_strings(inputs: Tensor) -> set[bytes]:
    long = inputs[(inputs != PADDING).sum(1) >= DISJOINT_LENGTH]
    return {string.numpy().tobytes() for string in long}


def test_strings_and_their_parity() -> None:
    task = tasks.build(TASKS.component("parity", min_length=3, max_length=9))
    inputs, labels = task.sample(2000, torch.Generator().manual_seed(0))
    lengths = (inputs != PADDING).sum(1)
    # Uniform lengths: each of seven is drawn 286 times, give or take five standard deviations.
    counts = torch.bincount(lengths, minlength=10)
    assert counts[:3].tolist() == [0, 0, 0]
    assert (counts[3:] - 2000 / 7).abs().max() < 5 * (2000 / 7 * 6 / 7) ** 0.5
    for string, length, label in zip(inputs.tolist(), lengths.tolist(), labels, strict=True):
        assert set(string[:length]) <= {0, 1}
        assert set(string[length:]) <= {PADDING}
        assert string[:length].count(1) % 2 == label


def test_fixed_training_strings_are_not_in_other_splits() -> None:
    # Of 12 to 13 bits there are few enough that chance alone would bring hundreds together.
    task = TASKS["parity"].factory(min_length=12, max_length=13, train_size=3000)
    train, validation, test = (
        long_strings(task.splits[name].inputs) for name in ("train", "validation", "test")
    )
    assert task.num_train == len(task.train.inputs) == 3000
    assert len(train) > 2000
    assert not train & validation
    assert not train & test
    assert not validation & test


def test_streamed_strings_are_not_held_out() -> None:
    task = tasks.build(TASKS.component("parity", min_length=12, max_length=13))
    drawn = long_strings(task.sample(3000, torch.Generator().manual_seed(5)).inputs)
    for split in task.splits.values():
        assert not drawn & long_strings(split.inputs)


def test_held_out_strings_do_not_depend_on_the_training_set() -> None:
    streamed, fixed = (TASKS["parity"].factory(train_size=size) for size in (None, 10))
    for name in ("validation", "test"):
        assert torch.equal(streamed.splits[name].inputs, fixed.splits[name].inputs)


@pytest.mark.parametrize("name", ["parity_rnn", "transformer_encoder"])
def test_short_strings_are_learnt(name: str) -> None:
    condition = Condition(
        task=TASKS.component("parity", min_length=1, max_length=4),
        target=ARCHITECTURES.component(name, depth=1, width=32),
        train=TrainSettings(steps=250, batch_size=64, lr=3e-3),
    )
    assert train(condition, seed=0).metrics["accuracy"] > 0.95
