"""Replicates whose seed draws the data: paired within a seed; tasks of one data set are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import trainers
from trainers import tasks
from trainers.conditions.condition import Condition
from trainers.conditions.ids import guide_id, replicate_id
from trainers.conditions.weights import Weights
from trainers.errors import UserError
from trainers.store.store import Store
from trainers.tasks import TASKS
from trainers.training.setup import RunSetup
from trainers.training.train import train

MakeCondition = Callable[..., Condition]


def drawn(condition: Condition) -> Condition:
    return replace(condition, data="per_seed")


@pytest.mark.parametrize("kind", ["image", "token"])
def test_runs_of_one_seed_share_data_and_other_seeds_have_other(
    kind: str, make: MakeCondition, tmp_path: Path
) -> None:
    guided = drawn(make(kind, control="none", state="trained"))
    (guide,) = guided.guide_conditions
    conditions = drawn(make(kind)), guided, guide, drawn(make(kind, control="shuffled"))
    found: dict[int, set[str]] = {}
    for seed in (0, 1):
        for condition in conditions:
            result = train(condition, seed=seed, store=tmp_path, report=lambda _: None)
            record = Store(tmp_path).replicate(result.replicate_id).result()
            assert record is not None
            found.setdefault(seed, set()).add(record.data_fingerprint)
    assert [len(each) for each in found.values()] == [1, 1]
    shared = tasks.build(guided.task).fingerprint
    assert len({shared, *found[0], *found[1]}) == 3


def test_a_guide_is_calibrated_and_cached_on_the_data_of_its_seed(make: MakeCondition) -> None:
    condition = drawn(make(control="none"))
    first, other = (
        train(condition, seed=seed, report=lambda _: None).metrics["loss"] for seed in (0, 1)
    )
    pool = trainers.guides.pool.GuidePool()
    again = [
        train(condition, seed=seed, report=lambda _: None, guides=pool).metrics["loss"]
        for seed in (1, 0)
    ]
    assert again == [other, first]
    assert first != other


def test_the_network_of_a_seed_begins_as_with_the_shared_data(make: MakeCondition) -> None:
    """Data alone differs: initial weights and the order of batches are of the same streams."""
    setups = [RunSetup.of(condition, 3) for condition in (make(), drawn(make()))]
    assert [setup.task.data_seed for setup in setups] == [None, 3]
    seeds = [setup.streams.seed("init") for setup in setups]
    assert seeds[0] == seeds[1]


def test_it_enters_the_id_where_it_is_per_seed_alone(make: MakeCondition) -> None:
    for condition in (make(), make(control="none"), make(control="none", state="trained")):
        assert replicate_id(condition, 0) != replicate_id(drawn(condition), 0)
        assert replicate_id(condition, 0) == replicate_id(replace(condition, data="fixed"), 0)
    untrained = make(control="none")
    (term,) = untrained.terms
    assert guide_id(untrained, term, 0) != guide_id(drawn(untrained), term, 0)


def test_replicates_of_other_data_do_not_compare(make: MakeCondition, tmp_path: Path) -> None:
    condition = drawn(make())
    names = [
        train(condition, seed=seed, store=tmp_path, report=lambda _: None).replicate_id
        for seed in (0, 1)
    ]
    assert trainers.align(tmp_path, names[0], names[0])[0]["n"] == 1600
    with pytest.raises(UserError, match=r"no examples in common: .* has data seed 0, .* 1"):
        trainers.align(tmp_path, *names)


def test_a_condition_by_names(tmp_path: Path) -> None:
    content: dict[str, Any] = {
        "task": "digits", "target": "fcn", "train": {"steps": 1, "batch_size": 10},
        "data": "per_seed",
    }  # fmt: skip
    first, other = (
        trainers.train(content, seed=seed, report=lambda _: None).metrics for seed in (0, 1)
    )
    assert first != other
    with pytest.raises(UserError, match="data is 'each'; allowed: fixed, per_seed"):
        trainers.train(content | {"data": "each"})


def test_one_data_set_cannot_be_drawn_anew(make: MakeCondition) -> None:
    wanted = (
        r"data is per_seed, and task 'text' has one data set; allowed: fixed, or .*: copy_paste"
    )
    with pytest.raises(UserError, match=wanted):
        tasks.build(TASKS.component("text"), 0)
    (guide,) = drawn(make(control="none", state="trained")).guide_conditions
    weights = Weights(name="a.pt", content="0" * 64)
    with pytest.raises(UserError, match="data is per_seed, and the guide has weights"):
        replace(guide, weights=weights, train=replace(guide.train, steps=0))
