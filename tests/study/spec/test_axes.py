"""What lists, axes and blocks of a spec multiply, and which of two settings holds."""

from __future__ import annotations

from typing import Any

from study.spec.entries import train_settings
from study.spec.read import Spec, read


def spec_of(**changes: Any) -> Spec:
    good: dict[str, Any] = {"name": "small", "task": "translated_digits", "targets": ["fcn"]}
    return read(good | {"guides": ["resnet2d"], "train": {"epochs": 1}} | changes)


def settings_of(spec: Spec, block: int = 0) -> list[Any]:
    return train_settings(spec.blocks[block].train)


def test_lists_are_axes_in_training_settings_and_schedules() -> None:
    spec = spec_of(
        train={"epochs": [1, 2], "lr": [0.1, 0.2], "grad_clip": [None, 1.0]},
        schedule=[{"alpha": [0.5, 1]}, {"alpha": 5, "stop_step": [None, 10]}],
    )
    found = [(s.epochs, s.lr, s.grad_clip) for s in settings_of(spec)]
    assert sorted(found, key=str) == sorted(
        [(e, lr, c) for e in (1, 2) for lr in (0.1, 0.2) for c in (None, 1.0)], key=str
    )
    schedules = [s for entry in spec.blocks[0].schedule for s in entry.points]
    pairs = [(s.alpha, s.stop_step) for s in schedules]
    assert pairs == [(0.5, None), (1.0, None), (5.0, None), (5.0, 10)]


def test_lists_are_axes_in_options() -> None:
    spec = spec_of(
        targets=[{"name": "fcn", "depth": [2, 3], "norm": ["none", "batch"]}, "fcn"],
        distances={"name": "linear_cka", "unbiased": [True, False]},
    )
    (block,) = spec.blocks
    options = [c.kwargs for c in block.targets[0].components()]
    assert [(o["depth"], o["norm"]) for o in options] == [
        (2, "none"), (2, "batch"), (3, "none"), (3, "batch"),
    ]  # fmt: skip
    assert {o["width"] for o in options} == {256}
    assert [c.kwargs["unbiased"] for c in block.distances[0].components()] == [True, False]


def test_dotted_axes_multiply_blocks() -> None:
    spec = spec_of(
        targets=["fcn", {"name": "fcn", "depth": 7}],
        train={"epochs": 1, "batch_size": 50},
        axes={"train.lr": [0.1, 0.2], "targets.width": [8, 16], "schedule.alpha": [3]},
    )
    found = [
        (
            settings_of(spec, index)[0].lr,
            [(c.kwargs["depth"], c.kwargs["width"]) for e in b.targets for c in e.components()],
        )
        for index, b in enumerate(spec.blocks)
    ]
    assert found == [(lr, [(4, width), (7, width)]) for lr in (0.1, 0.2) for width in (8, 16)]
    assert {settings_of(spec, index)[0].batch_size for index in range(4)} == {50}
    assert {b.schedule[0].alpha[0] for b in spec.blocks} == {3.0}


def test_axes_of_the_top_and_of_a_block_meet() -> None:
    spec = spec_of(
        axes={"schedule.alpha": [1, 2]}, grids=[{"axes": {"train.lr": [0.1, 0.2, 0.3]}}, {}]
    )
    assert len(spec.blocks) == 6 + 2


def test_a_block_overrides_the_top_key_by_key_in_training_settings() -> None:
    spec = spec_of(
        train={"steps": 7, "lr": 0.5, "batch_size": 20},
        seeds=2,
        grids=[{"train": {"epochs": 3}, "seeds": [8]}, {"train": {"lr": 0.1}}],
    )
    first, second = settings_of(spec, 0)[0], settings_of(spec, 1)[0]
    assert (first.epochs, first.steps, first.lr, first.batch_size) == (3, None, 0.5, 20)
    assert (second.epochs, second.steps, second.lr, second.batch_size) == (None, 7, 0.1, 20)
    assert [b.seeds for b in spec.blocks] == [[8], [0, 1]]


def test_later_settings_override_and_epochs_drop_steps() -> None:
    (block,) = spec_of(
        train={"epochs": 4, "lr": 0.5},
        guide_train={"steps": 9},
        guides=[{"name": "resnet2d", "train": {"lr": 0.25}}],
    ).blocks
    (found,) = train_settings(block.train, block.guide_train, block.guides[0].train)
    assert (found.epochs, found.steps, found.lr) == (None, 9, 0.25)
