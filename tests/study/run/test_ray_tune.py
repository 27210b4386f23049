"""Placement: how many trials a cluster holds, and what no cluster of this size can."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from study.run import ray_tune
from study.spec.read import Resources, SpecError


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    have = {"CPU": 8.0, "GPU": 4.0}
    monkeypatch.setattr(ray, "cluster_resources", lambda: have)
    monkeypatch.setattr(ray_tune, "nodes", lambda: [have])
    return have


@pytest.mark.parametrize(
    ("resources", "count"),
    [
        ({}, 8),
        ({"workers": 2}, 4),
        ({"workers": 3}, 2),
        ({"workers": 2, "cpus_per_worker": 0.5}, 8),
        ({"workers": 2, "cpus_per_worker": 0.5, "gpus_per_worker": 1}, 2),
        ({"gpus_per_worker": 0.25}, 8),
        # At least one, so that an autoscaler sees demand.
        ({"workers": 16}, 1),
    ],
)
def test_slots(resources: dict[str, Any], count: int, cluster: dict[str, float]) -> None:
    assert ray_tune.slots(Resources(**resources)) == count


@pytest.mark.parametrize(
    ("resources", "count"),
    [
        ({}, 8),
        # One a node, though the four GPUs would hold six such shares.
        ({"gpus_per_worker": 0.6}, 4),
        ({"gpus_per_worker": 0.25}, 8),
        ({"cpus_per_worker": 0.5, "gpus_per_worker": 0.25}, 16),
        ({"cpus_per_worker": 1.5}, 4),
        # The two workers of a trial may be on two nodes.
        ({"workers": 2, "gpus_per_worker": 1}, 2),
        ({"cpus_per_worker": 3}, 1),
    ],
)
def test_slots_of_several_nodes(
    resources: dict[str, Any], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_tune, "nodes", lambda: [{"CPU": 2.0, "GPU": 1.0}] * 4)
    assert ray_tune.slots(Resources(**resources)) == count


def test_a_trial_that_never_fits_is_refused(cluster: dict[str, float]) -> None:
    ray_tune.check_room(Resources(workers=8))
    with pytest.raises(SpecError, match="workers: 9 needs 9 CPUs, and this machine has 8"):
        ray_tune.check_room(Resources(workers=9))
    del cluster["GPU"]
    with pytest.raises(SpecError, match="needs 2 GPUs, and this machine has 0"):
        ray_tune.check_room(Resources(workers=2, gpus_per_worker=1))


def test_a_cluster_that_grows_has_the_slots_that_the_spec_asks_for(
    cluster: dict[str, float],
) -> None:
    cluster["CPU"] = 0.0
    asked = Resources(max_concurrent_trials=8)
    assert ray_tune.slots(asked, grows=True) == 8
    assert ray_tune.slots(asked) == 1
    assert ray_tune.slots(Resources(), grows=True) == 1
