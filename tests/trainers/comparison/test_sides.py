"""The two networks of a comparison: their weights, and how often they are loaded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.registries import restored
from trainers import tasks
from trainers.architectures import ARCHITECTURES
from trainers.comparison import Sides, align, sides
from trainers.comparison.sides import Side, SideFeatures
from trainers.conditions.condition import Condition
from trainers.guides import frozen
from trainers.runtime.streams import Streams, isolated
from trainers.store.store import Store
from trainers.tasks import TASKS
from trainers.training.loop import Run
from trainers.training.setup import RunSetup

MakeCondition = Callable[..., Condition]


def test_initial_weights_are_those_that_training_began_with(
    trained: dict[str, Any], make: MakeCondition
) -> None:
    condition = make("image")
    with isolated(1):
        run = Run(RunSetup.of(condition, 0), (), lambda _payload: None)
    store = trained["store"]
    side = Side.of(Store(store), trained["image"], "initial")
    with isolated(1):
        rebuilt = side.network()
    assert_same_weights(rebuilt, run.network)
    initial = align(store, trained["image"], trained["image guide"], moment="initial")
    guided = align(store, trained["image guided"], trained["image guide"], moment="initial")
    assert [r["similarity"] for r in initial] == [r["similarity"] for r in guided]
    assert {row["moment"] for row in initial} == {"initial"}
    final = align(store, trained["image"], trained["image guide"])
    assert [r["similarity"] for r in initial] != [r["similarity"] for r in final]


def test_initial_guide_is_the_untrained_guide(trained: dict[str, Any], make: MakeCondition) -> None:
    condition = make("image", control="none", state="untrained")
    assert condition.guidance is not None
    guide = condition.guidance.term.guide
    streams = Streams("guide", condition.task, guide.architecture, 0)
    side = Side.of(Store(trained["store"]), trained["image guide"], "initial")
    with isolated(1):
        expected = frozen.untrained(guide, tasks.build(condition.task), streams)
        assert_same_weights(side.network(), expected)


def assert_same_weights(first: torch.nn.Module, second: torch.nn.Module) -> None:
    mine, its = first.state_dict(), second.state_dict()
    assert mine.keys() == its.keys()
    assert [name for name in mine if not torch.equal(mine[name], its[name])] == []


def test_calls_with_the_same_sides_load_a_network_once(
    trained: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    network = Side.network
    monkeypatch.setattr(Side, "network", lambda side: loaded.append(side.id) or network(side))
    store = tmp_path / "store"
    shutil.copytree(trained["store"] / "replicates", store / "replicates")
    ids = [trained[name] for name in ("image", "image guided", "image guide")]

    def compare(cached: Sides | None = None) -> list[Any]:
        shutil.rmtree(store / "alignments", ignore_errors=True)
        loaded.clear()
        return [align(store, target, ids[2], sides=cached) for target in ids[:2]]

    alone = compare()
    assert loaded == [ids[0], ids[2], ids[1], ids[2]]
    cached = Sides()
    assert compare(cached) == alone
    assert loaded == ids[:1] + ids[2:] + ids[1:2]
    assert len(cached) == 3
    assert compare(cached) == alone
    assert loaded == []
    # Networks of registered entries, which are others when they are registered again.
    with restored():
        entry = ARCHITECTURES[store_condition(store, ids[2]).target.name]
        ARCHITECTURES.register(entry.name, version=entry.version, **entry.info)(entry.factory)
        compare(cached)
        assert loaded == [ids[2]]
    monkeypatch.setattr(sides, "MAX_NETWORK_BYTES", 0)
    large = Sides()
    assert compare(large) == alone
    assert len(large) == 0


def store_condition(store: Path, identifier: str) -> Condition:
    return Store(store).replicate(identifier).condition()


def test_it_holds_the_networks_that_were_compared_last(trained: dict[str, Any]) -> None:
    cached, store = Sides(), Store(trained["store"])
    for kind in ("image", "token"):
        for name in (kind, f"{kind} guided", f"{kind} guide"):
            cached.features(Side.of(store, trained[name], "final"), "test")
    assert len(cached) == sides.CACHED_NETWORKS == 4


def test_rows_are_counted_with_padding_whichever_example_comes_first() -> None:
    """A measure that needs all rows at once gets as many examples as fit, short or long."""
    task = tasks.build(TASKS.component("parity", min_length=2, max_length=20))
    inputs = task.splits["test"].inputs
    lengths = (inputs != task.input.padding).sum(1)
    network = ARCHITECTURES["parity_rnn"].factory(task.input, task.output)
    assert lengths.min() < lengths.max()
    for first in (int(lengths.argmin()), int(lengths.argmax())):
        features = SideFeatures(network, task, inputs.roll(-first, 0))
        assert features.num_rows == inputs.numel()
        assert features.rows_each == inputs.shape[1]
