"""Whether a cluster has room for a trial: where it has none, nothing would ever start."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from analysis.quantities import duration
from study.errors import RunError
from study.spec.read import Resources

_LOOK_SECONDS = 5.0
#: Seconds between two lines that say the same.
_AGAIN_SECONDS = 600.0

#: Resources of a node by name, as Ray gives them.
Node = Mapping[str, float]


class NoRoomError(RunError):
    """No node that has room for a trial's workers came in time."""


class Room:
    """Watches the nodes of a cluster: says where a trial does not fit, and gives up after a time.

    `nodes` gives the resources of each node that is alive, `say` gets the lines. An autoscaler may
    bring larger nodes, so a run waits for `wait_seconds`, by default for ever.
    """

    def __init__(
        self,
        resources: Resources,
        nodes: Callable[[], Iterable[Node]],
        say: Callable[[str], object],
        *,
        wait_seconds: float | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resources, self._nodes, self._say = resources, nodes, say
        self._wait, self._now = wait_seconds, now
        self._looked = self._said = float("-inf")
        self._since: float | None = None

    def look(self) -> None:
        """Look, every few seconds at most; raises NoRoomError after `wait_seconds` without room."""
        now = self._now()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        nodes = list(self._nodes())
        if fits(self._resources, nodes):
            if self._since is not None:
                self._say(f"there is room for a trial, after {duration(now - self._since)}")
            self._since, self._said = None, float("-inf")
            return
        self._since = now if self._since is None else self._since
        lack = f"a trial needs {_needs(self._resources)}, and the cluster has {_have(nodes)}"
        if self._wait is not None and now - self._since >= self._wait:
            raise NoRoomError(f"{lack}; no node with room came within {duration(self._wait)}")
        if now - self._said >= _AGAIN_SECONDS:
            limit = "" if self._wait is None else f", for {duration(self._wait)} at most"
            self._say(f"{lack}: waiting for nodes, which an autoscaler may bring{limit}")
            self._said = now


def fits(resources: Resources, nodes: Iterable[Node]) -> bool:
    """Whether all workers of a trial have a place on these nodes while nothing else is there."""
    each = (resources.cpus_per_worker, resources.gpus_per_worker)
    return sum(places(node, *each) for node in nodes) >= resources.workers


def places(have: Node, cpus: float, gpus: float) -> int:
    """How many times `cpus` and `gpus` together go into what is there."""
    counts = [have.get("CPU", 0) / cpus]
    if gpus:
        counts.append(have.get("GPU", 0) / gpus)
    return int(min(counts))


def _needs(resources: Resources) -> str:
    gpus = f" and {resources.gpus_per_worker:g} GPU" if resources.gpus_per_worker else ""
    each = f"{resources.cpus_per_worker:g} CPU{gpus}"
    return each if resources.workers == 1 else f"{resources.workers} workers with {each} each"


def _have(nodes: Iterable[Node]) -> str:
    kinds = Counter(f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU" for node in nodes)
    shown = (
        f"{count} node{'' if count == 1 else 's'} with {each}" for each, count in kinds.items()
    )
    return "; ".join(shown) or "no node"
