"""Baselines at equal compute, against operations counted by hand for a small network."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import pytest

from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition
from trainers.conditions.guidance import Guidance, Guide, Term
from trainers.conditions.ids import replicate_id
from trainers.conditions.schedule import AlignFirst, Schedule
from trainers.conditions.training import TrainSettings
from trainers.cost import flops, matched
from trainers.cost.matched import guided_flops, matched_baseline
from trainers.errors import UserError
from trainers.tasks import TASKS

TASK = TASKS.component("mnist1d")
#: One hidden layer: a signal of 40 values, then widths 16 and 10 classes.
FCN = ARCHITECTURES.component("fcn", depth=1, width=16)
GUIDE = ARCHITECTURES.component("fcn", depth=1, width=24)
BATCH, STEPS = 50, 200
TRAIN = TrainSettings(steps=STEPS, batch_size=BATCH, lr_schedule="cosine")
BASELINE = Condition(task=TASK, target=FCN, train=TRAIN)
GUIDE_TRAIN = TrainSettings(steps=70, batch_size=25)


def forward(width: int, batch: int) -> int:
    """By hand: two operations for each weight and example."""
    return 2 * batch * (40 * width + width * 10)


UNTRAINED = Guide(architecture=GUIDE, state="untrained", batch_norm="calibrated")


def guided(
    condition: Condition = BASELINE, *guides: Guide, schedule: Schedule | None = None
) -> Condition:
    terms = tuple(Term(guide=guide) for guide in guides or (UNTRAINED,))
    return replace(condition, treatment=Guidance(terms=terms, schedule=schedule or Schedule()))


#: One pair of taps, of the hidden layers: from the products of features, by `pair_flops`.
DISTANCE = min(2 * BATCH * BATCH * (3 * 16 + 24), 2 * BATCH * (3 * 16 * 24 + 3 * 16 * 16 + 24 * 24))
TARGET, GUIDE_FORWARD = 3 * forward(16, BATCH), forward(24, BATCH)


def steps_of(condition: Condition | None) -> int:
    assert condition is not None
    assert condition.train.steps is not None
    return condition.train.steps


def by_hand(total: int, steps: int = STEPS) -> int:
    """S' of a total of operations, rounded up to a twentieth of S."""
    parts = math.ceil(20 * Fraction(total, TARGET * steps))
    return math.ceil(Fraction(parts, 20) * steps)


def test_the_steps_of_a_small_network() -> None:
    total = STEPS * (TARGET + GUIDE_FORWARD + DISTANCE)
    assert guided_flops(guided()) == total
    assert steps_of(matched_baseline(guided())) == by_hand(total)
    # Just above, and by less than 5 % of the condition's own steps.
    spare = steps_of(matched_baseline(guided())) * TARGET - total
    assert 0 <= spare < TARGET * STEPS / 20


def test_the_guides_own_training_is_added_in_full() -> None:
    guide = Guide(architecture=GUIDE, state="trained", train=GUIDE_TRAIN)
    condition = guided(BASELINE, guide)
    total = STEPS * (TARGET + GUIDE_FORWARD + DISTANCE) + 70 * 3 * forward(24, 25)
    assert steps_of(matched_baseline(condition, guide_training=True)) == by_hand(total)
    assert matched_baseline(condition) == matched_baseline(guided())
    assert matched_baseline(guided(), guide_training=True) is None


def test_every_guide_counts() -> None:
    other = Guide(
        architecture=ARCHITECTURES.component("fcn", depth=1, width=32), state="trained",
        train=GUIDE_TRAIN,
    )  # fmt: skip
    pair = min(2 * BATCH * BATCH * (3 * 16 + 32), 2 * BATCH * (3 * 16 * 32 + 3 * 16 * 16 + 32 * 32))
    both = STEPS * (TARGET + GUIDE_FORWARD + DISTANCE + forward(32, BATCH) + pair)
    condition = guided(BASELINE, UNTRAINED, other)
    assert guided_flops(condition) == both
    full = both + 70 * 3 * forward(32, 25)
    assert steps_of(matched_baseline(condition, guide_training=True)) == by_hand(full)


def test_guidance_that_stops_costs_less() -> None:
    stopped = guided(schedule=Schedule(stop_step=40))
    total = STEPS * TARGET + 40 * (GUIDE_FORWARD + DISTANCE)
    assert steps_of(matched_baseline(stopped)) == by_hand(total)


def test_guidance_in_some_steps_alone_costs_less() -> None:
    lazy = guided(schedule=Schedule(every=8, scale_alpha=True))
    num_guided = len(range(0, STEPS, 8))
    total = STEPS * TARGET + num_guided * (GUIDE_FORWARD + DISTANCE)
    assert steps_of(matched_baseline(lazy)) == by_hand(total)


def test_steps_of_alignment_count() -> None:
    first = guided(schedule=Schedule(align_first=AlignFirst(steps=30)))
    total = STEPS * TARGET + 30 * (TARGET + GUIDE_FORWARD + DISTANCE)
    assert steps_of(matched_baseline(first)) == by_hand(total)


def test_a_cache_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    cached = flops.training(guided())
    assert cached < guided_flops(guided())
    monkeypatch.setattr(flops, "is_cached", lambda *_: False)
    assert flops.training(guided()) == guided_flops(guided())


def test_epochs_become_steps() -> None:
    condition = guided(replace(BASELINE, train=replace(TRAIN, steps=None, epochs=2)))
    # 3500 training examples.
    total = 140 * (TARGET + GUIDE_FORWARD + DISTANCE)
    found = matched_baseline(condition)
    assert steps_of(found) == by_hand(total, 140)
    assert found is not None
    assert found.train == replace(TRAIN, steps=steps_of(found))


def test_a_matched_baseline_is_an_ordinary_one() -> None:
    found = matched_baseline(guided())
    ordinary = replace(BASELINE, train=replace(TRAIN, steps=steps_of(found)))
    assert found == ordinary
    assert replicate_id(ordinary, 3) == replicate_id(found, 3)  # type: ignore[arg-type]


def test_conditions_of_one_cost_share_it() -> None:
    shared = {matched_baseline(guided(schedule=Schedule(alpha=a))) for a in (0.1, 1.0, 10.0)}
    assert len(shared) == 1


@pytest.mark.parametrize(
    ("total", "expected"), [(1.0, 200), (1.05, 210), (1.0501, 220), (2.6, 520), (1 + 1e-12, 200)]
)
def test_rounding(total: float, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matched, "guided_flops", lambda _: total * STEPS * TARGET)
    assert steps_of(matched_baseline(guided())) == expected


def test_a_target_without_counted_operations_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matched, "operations", lambda _: 0.0)
    with pytest.raises(UserError, match="'fcn' has no operations that are counted"):
        matched_baseline(guided())
