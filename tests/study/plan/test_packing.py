"""Packing: every replicate once, guides before what they guide, no slot idle."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study import Study
from study.plan import packing
from study.plan.packing import WORTHWHILE_SECONDS, Trial
from study.plan.replicates import Replicate
from trainers.conditions.encoding import to_json


@cache
def replicates(num_seeds: int = 3, num_guides: int = 2, batch_norms: int = 1) -> list[Replicate]:
    study = Study(
        name="packed",
        task="translated_digits",
        targets=["fcn", {"name": "fcn", "depth": 2}],
        guides=[
            {"name": "resnet2d", "width": 2 + k, "batch_norm": ["calibrated", "eval"][:batch_norms]}
            for k in range(num_guides)
        ],
        controls=["shuffled", "input"],
        seeds=num_seeds,
        train={"epochs": 1},
    )
    return study.plan().replicates


def equal_costs(todo: list[Replicate], seconds: float = 1.0) -> dict[str, float]:
    return {replicate.id: seconds for replicate in todo}


def check(trials: list[Trial], todo: list[Replicate], seconds: dict[str, float]) -> None:
    packed = [replicate.id for trial in trials for replicate in trial.replicates]
    assert Counter(packed) == Counter(replicate.id for replicate in todo)
    open_guides = {r.id for r in todo if r.condition.role == "guide"}
    for trial in trials:
        assert trial.replicates
        assert trial.seconds == pytest.approx(sum(seconds[r.id] for r in trial.replicates))
        # Whoever takes trials in their order, one at a time, never finds a guide missing.
        trained_here = set()
        assert not trial.requires & open_guides
        for replicate in trial.replicates:
            assert not replicate.requires & open_guides - trained_here
            trained_here.add(replicate.id)
        open_guides -= trained_here


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_replicate_once_and_after_its_guide(data: st.DataObject) -> None:
    everything = replicates(
        data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    )
    finished = data.draw(st.sets(st.integers(0, len(everything) - 1)))
    todo = [r for index, r in enumerate(everything) if index not in finished]
    costs = data.draw(st.lists(st.floats(0, 2 * WORTHWHILE_SECONDS), min_size=1, max_size=5))
    seconds = {r.id: costs[index % len(costs)] for index, r in enumerate(todo)}
    slots = data.draw(st.integers(1, 12))
    per_trial = data.draw(st.integers(1, 9) | st.just("auto"))
    trials = packing.pack(todo, seconds, slots=slots, per_trial=per_trial)
    check(trials, todo, seconds)
    if isinstance(per_trial, int):
        assert max((len(trial.replicates) for trial in trials), default=0) <= per_trial


@settings(max_examples=40, deadline=None)
@given(seeds=st.integers(1, 6), slots=st.integers(1, 40), guides=st.integers(1, 3))
def test_no_slot_is_idle_while_there_is_work(seeds: int, slots: int, guides: int) -> None:
    todo = replicates(seeds, guides)
    trials = packing.pack(todo, equal_costs(todo), slots=slots)
    assert len(trials) >= min(slots, len(todo))


@settings(max_examples=40, deadline=None)
@given(seeds=st.integers(1, 6), slots=st.integers(1, 10), cost=st.floats(0.1, 500))
def test_slots_end_at_about_the_same_time(seeds: int, slots: int, cost: float) -> None:
    todo = replicates(seeds)
    trials = packing.pack(todo, equal_costs(todo, cost), slots=slots)
    loads = [0.0] * slots
    for trial in trials:
        loads[loads.index(min(loads))] += trial.seconds
    fair = cost * len(todo) / slots
    longest = max(trial.seconds for trial in trials)
    assert max(loads) <= fair + longest + 1e-6
    # Longest first, each to the least loaded: no more than a fair share and one piece.
    share = min(fair, WORTHWHILE_SECONDS)
    assert longest <= share + max(cost, share / 4) + 1e-6


def test_short_runs_share_trials_and_long_ones_do_not() -> None:
    todo = replicates(5)
    short = packing.pack(todo, equal_costs(todo, 0.5), slots=2)
    assert len(short) <= 2 * 2 + 1
    long = packing.pack(todo, equal_costs(todo, 3600.0), slots=2)
    assert len(long) == len(todo)


def test_a_fixed_number_per_trial() -> None:
    todo = replicates(3)
    trials = packing.pack(todo, equal_costs(todo), slots=8, per_trial=4)
    sizes = Counter(len(trial.replicates) for trial in trials)
    # Guides, and what waits for them, fill trials of their own.
    assert sum(sizes[size] for size in sizes if size != 4) <= 2
    check(trials, todo, equal_costs(todo))


def test_finished_guides_hold_nobody_up() -> None:
    todo = [r for r in replicates(3) if r.condition.role != "guide"]
    trials = packing.pack(todo, equal_costs(todo), slots=2)
    check(trials, todo, equal_costs(todo))
    assert {g for trial in trials for g in trial.requires} == {
        guide for r in todo for guide in r.requires
    }


def test_nothing_to_do() -> None:
    assert packing.pack([], {}, slots=4) == []


def test_a_payload_is_plain() -> None:
    import json

    from trainers.conditions.encoding import from_json
    from trainers.conditions.ids import replicate_id

    todo = replicates(1)
    (trial, *_) = packing.pack(todo, equal_costs(todo), slots=1, per_trial=100)
    payload: list[dict[str, Any]] = json.loads(json.dumps(trial.payload({todo[0].id: [{"a": 1}]})))
    found = [replicate_id(from_json(r["condition"]), r["seed"]) for r in payload]
    assert found == [replicate.id for replicate in trial.replicates]
    assert found == [r["id"] for r in payload]
    assert {r["id"]: r["comparisons"] for r in payload if r["comparisons"]} == {
        todo[0].id: [{"a": 1}]
    }
    assert not any(r["best_validation"] for r in payload)
    todo[0].planned.best_validation = True
    again = trial.payload({})
    assert {r["id"] for r in again if r["best_validation"]} == {todo[0].id}


def test_trials_hold_each_condition_once_whatever_its_seeds() -> None:
    todo = replicates()
    trials = packing.pack(todo, equal_costs(todo), slots=2)
    sent = [each for trial in trials for each in trial.payload({})]
    assert len(sent) == len(todo)
    assert len({id(each["condition"]) for each in sent}) == len({id(r.planned) for r in todo})
    assert [each["condition"] for each in sent] == [
        to_json(r.condition) for trial in trials for r in trial.replicates
    ]
