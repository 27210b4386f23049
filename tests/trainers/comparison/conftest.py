"""Replicates to compare: trained once for all tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import trainers
from trainers.conditions.condition import Condition
from trainers.messages import silent

MakeCondition = Callable[..., Condition]


@pytest.fixture(scope="session")
def trained(
    make_condition: MakeCondition, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """A store with a baseline, a guided run and its trained guide of each kind of task."""
    make = make_condition
    store = tmp_path_factory.mktemp("store")

    def train(condition: Condition) -> str:
        return trainers.train(condition, store=store, report=silent).replicate_id

    ids: dict[str, Any] = {"store": store}
    for kind in ("image", "token"):
        guided = make(kind, control="none", state="trained")
        assert guided.guide_conditions
        ids[kind] = train(make(kind))
        ids[f"{kind} guided"] = train(guided)
        ids[f"{kind} guide"] = train(guided.guide_conditions[0])
    return ids
