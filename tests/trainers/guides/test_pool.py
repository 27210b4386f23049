"""The guides that replicates share, and how the workers of a trial keep the same ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.registries import restored
from trainers import train
from trainers.architectures import ARCHITECTURES
from trainers.conditions.condition import Condition
from trainers.guides.frozen import FrozenGuide
from trainers.guides.pool import MAX_GUIDES, GuideKey, GuidePool, TrialPool
from trainers.messages import Ended, Message, silent
from trainers.registry import Registry
from trainers.tasks import TASKS
from trainers.trial.trial import TrialContext, run_trial

MakeCondition = Callable[..., Condition]


def test_it_holds_the_guides_that_were_asked_for_last(make: MakeCondition) -> None:
    condition = make(control="none")
    assert condition.guidance is not None
    made: list[int] = []
    pool = GuidePool()
    for seed in (0, 1, 0, 2, 0, 1):
        key = GuideKey(
            condition.task, condition.guidance.term.guide, seed, None, 1, None, "float32",
            (ARCHITECTURES["fcn"], TASKS["mnist1d"]), None, "cpu",
        )  # fmt: skip

        def make_guide(seed: int = seed) -> Any:
            made.append(seed)
            return seed

        assert pool.guide(key, make_guide) == seed
    assert made == [0, 1, 2, 1]
    assert len(pool) == MAX_GUIDES == 2


def test_a_pool_is_replaced_after_an_attempt_that_did_not_complete() -> None:
    leader, follower = TrialPool(), TrialPool()
    first = leader.begin()
    kept = follower.numbered(leader.number)
    leader.completed()
    assert leader.begin() is first
    assert follower.numbered(leader.number) is kept
    # Not completed: it failed, or lost its lease.
    assert leader.begin() is not first
    assert follower.numbered(leader.number) is not kept


@pytest.mark.parametrize("fails", [False, True])
def test_replicates_of_a_trial_share_a_guides_features(
    fails: bool, make: MakeCondition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    forward_all = FrozenGuide.forward_all

    def spy(self: FrozenGuide, inputs: Any) -> Any:
        ran.append(len(inputs))
        return forward_all(self, inputs)

    monkeypatch.setattr(FrozenGuide, "forward_all", spy)
    diverging = {"lr": 1e30, "optimizer": "sgd"} if fails else {}
    pack = [make(control="none", **diverging), make(control="shuffled"), make(control="none")]
    for trial in ("one", "another"):
        ran.clear()
        messages: list[Message] = []
        context = TrialContext(store=str(tmp_path / trial), report=messages.append)
        run_trial([(condition, 0) for condition in pack], context)
        ended = [message.status for message in messages if isinstance(message, Ended)]
        assert ended == ["failed" if fails else "finished", "finished", "finished"]
        assert len(ran) == 1 + fails


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FrozenGuide]:
    """The guides that are made, in order."""
    found: list[FrozenGuide] = []
    init = FrozenGuide.__init__

    def spy(self: FrozenGuide, *arguments: Any, **settings: Any) -> None:
        found.append(self)
        init(self, *arguments, **settings)

    monkeypatch.setattr(FrozenGuide, "__init__", spy)
    return found


@pytest.mark.parametrize("kind", ["architecture", "task"])
def test_a_pool_makes_the_guide_of_an_entry_that_is_registered_again(
    kind: str, make: MakeCondition, made: list[FrozenGuide]
) -> None:
    """As in a notebook, where the cell that registers it is run again."""
    condition, pool = make(control="none"), GuidePool()
    assert condition.guidance is not None
    registry: Registry[Any] = ARCHITECTURES if kind == "architecture" else TASKS
    component = (
        condition.guidance.term.guide.architecture if registry is ARCHITECTURES else condition.task
    )
    entry = registry[component.name]
    with restored():
        train(condition, report=silent, guides=pool)
        train(condition, report=silent, guides=pool)
        assert len(made) == 1
        registry.register(entry.name, version=entry.version, **entry.info)(entry.factory)
        train(condition, report=silent, guides=pool)
        assert len(made) == 2


def test_a_pool_makes_a_guide_for_each_store(
    make: MakeCondition, made: list[FrozenGuide], tmp_path: Path
) -> None:
    condition, pool = make(control="none", state="trained"), GuidePool()
    for store in ("one", "another"):
        train(condition, store=tmp_path / store, report=silent, guides=pool)
    assert len(made) == 2
