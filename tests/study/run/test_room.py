"""A trial that no node can hold: it is said, waited for, and given up in time."""

from __future__ import annotations

from typing import Any

import pytest

from study.run.room import Node, NoRoomError, Room, fits
from study.spec.read import Resources

SMALL: Node = {"CPU": 4.0, "memory": 1e9}
GPU: Node = {"CPU": 4.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("resources", "nodes", "fit"),
    [
        ({}, [SMALL], True),
        ({}, [], False),
        ({"gpus_per_worker": 1}, [SMALL], False),
        ({"gpus_per_worker": 0.5}, [SMALL, GPU], True),
        ({"workers": 2, "gpus_per_worker": 1}, [GPU, SMALL], False),
        ({"workers": 2, "gpus_per_worker": 1}, [GPU, GPU], True),
        # Enough in all, and no node with enough.
        ({"cpus_per_worker": 6}, [SMALL, SMALL], False),
        ({"workers": 3, "cpus_per_worker": 2}, [SMALL, SMALL], True),
    ],
)
def test_workers_fit_node_by_node(resources: dict[str, Any], nodes: list[Node], fit: bool) -> None:
    assert fits(Resources(**resources), nodes) == fit


class Cluster:
    """A cluster whose nodes and clock are set by hand, and a watch on it."""

    def __init__(self, wait_seconds: float | None = None, **resources: Any) -> None:
        self.nodes, self.seconds, self.said = [SMALL], 0.0, list[str]()
        self._room = Room(
            Resources(**resources), lambda: self.nodes, self.said.append,
            wait_seconds=wait_seconds, now=lambda: self.seconds,
        )  # fmt: skip

    def after(self, seconds: float) -> list[str]:
        self.seconds += seconds
        self._room.look()
        return self.said


def test_a_cluster_with_room_is_not_spoken_of() -> None:
    cluster = Cluster()
    assert [cluster.after(seconds) for seconds in (0, 10, 1000)][-1] == []


def test_what_is_missing_is_said_once_and_again_after_a_while() -> None:
    cluster = Cluster(workers=2, gpus_per_worker=1)
    lack = (
        "a trial needs 2 workers with 1 CPU and 1 GPU each, and the cluster has 1 node with 4 CPU, "
        "0 GPU: waiting for nodes, which an autoscaler may bring"
    )
    assert cluster.after(0) == [lack]
    assert cluster.after(60) == [lack]
    assert cluster.after(600) == [lack, lack]
    cluster.nodes = [SMALL, GPU, GPU]
    assert cluster.after(10) == [lack, lack, "there is room for a trial, after 11 min"]


def test_nodes_are_not_waited_for_longer_than_asked() -> None:
    cluster = Cluster(wait_seconds=120, gpus_per_worker=1)
    (said,) = cluster.after(0)
    assert said.endswith("which an autoscaler may bring, for 2 min at most")
    cluster.after(100)
    with pytest.raises(NoRoomError, match=r"needs 1 CPU and 1 GPU.*came within 2 min"):
        cluster.after(30)


def test_the_time_without_room_counts_from_when_it_was_lost() -> None:
    cluster = Cluster(wait_seconds=120)
    cluster.after(0)
    cluster.after(1000)
    cluster.nodes = []
    cluster.after(10)
    cluster.after(110)
    with pytest.raises(NoRoomError, match="and the cluster has no node; "):
        cluster.after(20)
