"""One side of a comparison: a network at a moment, and what it cost to look at it.

A network is compared with several others in a row, a guide with all that it guides. What is of one
side alone, its features and what a measure makes of them, is kept for the next pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import torch
from torch import Tensor

from trainers import tasks
from trainers.architectures import Network
from trainers.conditions.condition import Condition
from trainers.errors import UserError
from trainers.guides.frozen import calibrate
from trainers.measures import Measure
from trainers.measures import Side as Prepared
from trainers.registry import derived
from trainers.runtime.devices import default_device
from trainers.store.store import WEIGHTS, Store
from trainers.tasks import Task
from trainers.training.evaluation import ALIGNMENT_BATCH, as_rows, tap_outputs
from trainers.training.loop import initial
from trainers.training.setup import RunSetup
from trainers.training.train import load

Moment = Literal["initial", "final"]
Taps = dict[str, Tensor]

#: Networks of which something is kept: two guides and two moments of a target. And how much of each
#: of its forms, features or what a measure makes of them.
KEPT_NETWORKS, KEPT_BYTES = 4, 2**27


@dataclass(frozen=True)
class Side:
    """A finished replicate of the store at a URI at one moment; `seed`: None if it plays no part.

    The digest is of the final weights: trained again elsewhere, they may differ in their last bits.
    """

    store: str
    id: str
    moment: Moment
    condition: Condition
    seed: int | None
    weights_digest: str

    @classmethod
    def of(cls, store: Store, identifier: str, moment: Moment, seed: int | None = None) -> Side:
        """Raises FileNotFoundError where it is not finished, UserError where it has no seed."""
        if moment not in ("initial", "final"):
            raise UserError(f"moment is {moment!r}; allowed: initial, final")
        replicate = store.replicate(identifier)
        result = replicate.result()
        if result is None:
            raise FileNotFoundError(
                f"{replicate.folder.uri}: no finished replicate, so nothing to align"
            )
        condition, own = replicate.condition(), replicate.described()["seed"]
        if own is None and moment == "initial":
            if seed is None:
                raise UserError(
                    f"{identifier} is a pretrained guide, which has no seed; its initial weights "
                    "need guide_seed"
                )
            own = seed
        return cls(store.uri, identifier, moment, condition, own, result.files[WEIGHTS].digest)

    def network(self) -> Network:
        """The network with its weights of that moment."""
        if self.moment == "final":
            return load(self.store, self.id)
        assert self.seed is not None, self
        setup = RunSetup.of(self.condition, self.seed)
        network = initial(setup)
        if self.condition.role == "guide":
            calibrate(network, setup.task, setup.streams)
        return network.to(default_device())

    def on(self, split: str) -> Seen:
        """Its features of a split; raises UserError where the task has no such split."""
        return _seen(self, split, str(default_device()))


class Seen:
    """A network and the inputs on which it is compared."""

    def __init__(self, network: Network, task: Task, inputs: Tensor) -> None:
        self.task, self.inputs = task, inputs
        self._network = network
        self._batches: list[Taps] | None = None
        self._prepared: dict[tuple[str, int, bool], dict[str, Prepared]] = {}

    def features(self, inputs: Tensor) -> Taps:
        """Features (n, p) by tap."""
        outputs = tap_outputs(self._network, inputs, default_device())
        return {tap: as_rows(output, self.task, inputs) for tap, output in outputs.items()}

    def batches(self) -> Iterator[Taps]:
        """Features of all inputs, in batches that differ in size by one example at most."""
        if self._batches is None:
            if 4 * self.num_rows * sum(self.widths) > KEPT_BYTES:
                return self._forward()
            self._batches = list(self._forward())
        return iter(self._batches)

    def _forward(self) -> Iterator[Taps]:
        count = -(-len(self.inputs) // min(ALIGNMENT_BATCH, self.task.forward_batch))
        for part in torch.arange(len(self.inputs)).tensor_split(count):
            # A slice: where inputs lie in memory, nothing is copied.
            yield self.features(self.inputs[int(part[0]) : int(part[-1]) + 1])

    def prepared(
        self, measure: Measure, label: str, num_examples: int, *, in_grams: bool
    ) -> dict[str, Prepared]:
        """What a measure makes of evenly spaced examples, by tap; `in_grams`: matrices alone.

        The label tells measures apart. Raises UserError where it is not defined for a tap's shape.
        """
        measure = measure.in_grams() if in_grams else measure
        key = label, num_examples, in_grams
        if key in self._prepared:
            return self._prepared[key]
        chosen = torch.arange(num_examples) * len(self.inputs) // num_examples
        chunks = torch.split(chosen, self.task.forward_batch)
        parts = [self.features(self.inputs[part]) for part in chunks]
        features = {tap: torch.cat([part[tap] for part in parts]) for tap in parts[0]}
        prepared = {tap: _prepare(measure, label, tap, x) for tap, x in features.items()}
        # The most that a measure makes of a tap is an n x n matrix, or the features in float64.
        if sum(8 * len(x) * max(x.shape) for x in features.values()) <= KEPT_BYTES:
            self._prepared[key] = prepared
        return prepared

    @cached_property
    def _probe(self) -> Taps:
        return self.features(self.inputs[:1])

    @property
    def widths(self) -> Sequence[int]:
        """Widths of its taps."""
        return [tap.shape[1] for tap in self._probe.values()]

    @property
    def num_rows(self) -> int:
        """Rows of all inputs, padding counted."""
        return len(self.inputs) * self.rows_each

    @property
    def rows_each(self) -> int:
        """Rows of an example: more than one where they are tokens."""
        return len(next(iter(self._probe.values())))


@derived
@lru_cache(maxsize=KEPT_NETWORKS)
def _seen(side: Side, split: str, device: str) -> Seen:  # noqa: ARG001  features are made on it
    task = tasks.build(side.condition.task)
    if split not in task.splits:
        allowed = ", ".join(sorted(task.splits))
        raise UserError(f"split is {split!r}; this task has {allowed}")
    return Seen(side.network(), task, task.splits[split].inputs)


def _prepare(measure: Measure, label: str, tap: str, features: Tensor) -> Prepared:
    try:
        return measure.prepare(features)
    except ValueError as error:
        raise UserError(f"{label} of tap {tap!r}: {error}") from error
