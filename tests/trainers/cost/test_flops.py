"""Operations counted from shapes, against counts by hand; nothing is loaded or computed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.helpers.conditions import guidance_of
from trainers import tasks
from trainers.architectures import ARCHITECTURES
from trainers.architectures.forward_pass import forward_pass
from trainers.conditions.cache_form import Cache
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guide
from trainers.conditions.schedule import AlignFirst, Schedule
from trainers.conditions.training import TrainSettings
from trainers.cost.flops import calls, pair_flops, training
from trainers.distances import DISTANCES
from trainers.tasks import TASKS, InputSpec, OutputSpec

IMAGE = InputSpec(kind="image", shape=(3, 8, 8))
SIGNAL = InputSpec(kind="signal", shape=(2, 20))
TOKENS = InputSpec(kind="tokens", shape=(6,), vocabulary=9)


def forward(name: str, input: InputSpec, batch: int, **options: Any) -> float:
    output = OutputSpec(num_classes=5, per_position=input.kind == "tokens")
    component = ARCHITECTURES.component(name, **options)
    return forward_pass(component, input, output).of_batch(batch).flops


def test_fully_connected() -> None:
    found = forward("fcn", IMAGE, 10, depth=3, width=16)
    assert found == 2 * 10 * (192 * 16 + 16 * 16 + 16 * 16 + 16 * 5)


def test_convolutions() -> None:
    found = forward("cnn1d", SIGNAL, 10, width=4, kernel=5)
    # Lengths 20, 10 and 5 after the strides 1, 2 and 2; kernel 5, channels 2, 4, 8, 8.
    layers = 20 * 4 * (2 * 5) + 10 * 8 * (4 * 5) + 5 * 8 * (8 * 5)
    assert found == 2 * 10 * (layers + 8 * 5)


def test_recurrent() -> None:
    found = forward("rnn", TOKENS, 10, depth=2, width=16, embedding=8)
    assert found == 2 * 10 * 6 * ((8 + 16) * 16 + (16 + 16) * 16 + 16 * 5)


def test_transformer_block() -> None:
    options = {"width": 16, "heads": 4, "feed_forward": 40}
    one = forward("transformer", TOKENS, 10, depth=1, **options)
    two = forward("transformer", TOKENS, 10, depth=2, **options)
    # Query, key, value and projection; scores and their products with values; feed-forward.
    linear = 6 * (16 * 48 + 16 * 16) + 6 * 2 * (16 * 40)
    attention = 2 * 6 * 6 * 16
    assert two - one == 2 * 10 * (linear + attention)
    assert one == two - one + 2 * 10 * 6 * 16 * 5


TRAIN = TrainSettings(steps=100, batch_size=50)
DIGITS = TASKS.component("translated_digits")
COPY = TASKS.component("copy_paste")
FCN = ARCHITECTURES.component("fcn", depth=2, width=8)
RESNET = ARCHITECTURES.component("resnet2d", width=2, blocks=1)
BASELINE = Condition(task=DIGITS, target=FCN, train=TRAIN)


def guided(condition: Condition = BASELINE, **changes: Any) -> Condition:
    guide = Guide(architecture=RESNET, state="untrained", batch_norm="calibrated")
    changes = {"guide": guide} | changes
    return replace(condition, treatment=guidance_of(**changes))


def of_network(component: Any, task: Any = DIGITS, batch: int = 50) -> float:
    built = tasks.build(task)
    return forward_pass(component, built.input, built.output).of_batch(batch).flops


STEPS = 100 * 3 * of_network(FCN)
#: Batches that hold each of the 3891 training examples once.
PASSES = 78


def comparisons(condition: Condition) -> float:
    """By hand: taps of width 8 with those of the ResNet of width 2 (stem, block twice, pool)."""
    return sum(pair_flops(50, 8, width) for width in (128, 128, 128, 2))


def test_training_is_three_forward_passes_a_step() -> None:
    assert training(BASELINE) == STEPS
    epochs = replace(TRAIN, steps=None, epochs=2)
    assert training(replace(BASELINE, train=epochs)) == pytest.approx(STEPS * 2 * PASSES / 100)


def test_guidance_adds_distances_and_one_pass_of_the_guide() -> None:
    condition = guided()
    added = 100 * comparisons(condition) + PASSES * of_network(RESNET)
    assert training(condition) == pytest.approx(STEPS + added)
    stopped = guided(schedule=Schedule(stop_step=10))
    assert training(stopped) == pytest.approx(
        STEPS + 10 * (comparisons(stopped) + of_network(RESNET))
    )


def test_guidance_in_one_step_of_eight_costs_an_eighth() -> None:
    live = Cache(form="live", feature_bytes=1)
    each, eighth = (
        training(guided(cache=live, schedule=Schedule(every=k))) - training(BASELINE)
        for k in (1, 8)
    )
    assert eighth == pytest.approx(each * 13 / 100)
    stopped = guided(cache=live, schedule=Schedule(every=8, stop_step=17))
    assert training(stopped) - training(BASELINE) == pytest.approx(each * 3 / 100)
    kept = guided(schedule=Schedule(every=8))
    assert calls(BASELINE) < calls(kept) < calls(guided())


def test_a_guide_that_cannot_be_kept_runs_in_each_step() -> None:
    guide = Guide(architecture=RESNET, state="untrained", batch_norm="batch")
    live = training(guided(guide=guide))
    kept = training(guided())
    assert live - kept == pytest.approx((100 - PASSES) * of_network(RESNET))
    assert training(guided(cache=Cache(form="live", feature_bytes=1))) == live
    augmented = TASKS.component("translated_digits", augment="shift")
    assert training(guided(replace(BASELINE, task=augmented))) == live


def test_alignment_before_training_takes_steps_of_its_own() -> None:
    first = guided(schedule=Schedule(align_first=AlignFirst(steps=20)))
    each = 3 * of_network(FCN) + comparisons(first) + of_network(RESNET)
    assert training(first) == pytest.approx(STEPS + 20 * each)


def test_controls() -> None:
    assert training(guided(control="shuffled")) == training(guided())
    stateless = Guide(architecture=RESNET, state=None)
    pixels = guided(control="input", guide=stateless)
    assert training(pixels) == pytest.approx(STEPS + 100 * 4 * pair_flops(50, 8, 256))
    uniform = guided(
        control="uniform", guide=Guide(architecture=FCN, state=None),
        distance=DISTANCES.component("distillation"),
    )  # fmt: skip
    assert training(uniform) == pytest.approx(STEPS + 100 * pair_flops(50, 10, 10))


def test_rows_of_sequences() -> None:
    rnn, transformer = ARCHITECTURES.component("rnn"), ARCHITECTURES.component("transformer")
    baseline = Condition(task=COPY, target=rnn, train=TRAIN)
    guide = Guide(architecture=transformer, state="untrained", batch_norm="calibrated")
    time = tasks.build(COPY).input.shape[0]
    plain = training(baseline) + 100 * of_network(transformer, COPY)
    tokens = guided(baseline, guide=guide, rows="tokens")
    assert training(tokens) == pytest.approx(plain + 100 * 2 * pair_flops(50 * time, 64, 48))
    positions = guided(baseline, guide=guide, rows="positions")
    assert training(positions) == pytest.approx(plain + 100 * 2 * time * pair_flops(50, 64, 48))


def test_a_distance_takes_the_cheaper_form() -> None:
    assert pair_flops(10, 1000, 1000) == 2 * 10 * 10 * 4000
    assert pair_flops(1000, 10, 20) == 2 * 1000 * (600 + 300 + 400)
