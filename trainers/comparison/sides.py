"""One side of a comparison: a network at a moment, its features, and a measure's form of these.

A network is compared with several others in a row, a guide with every target that it guides. Its
features and the measure's prepared form depend on one side alone: `Sides` caches them for the next
pair.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from trainers import tasks
from trainers.architectures import ARCHITECTURES, Network
from trainers.conditions.condition import Condition
from trainers.errors import UserError
from trainers.guides import pretrained
from trainers.guides.frozen import calibrate
from trainers.measures import Measure
from trainers.measures import Side as Prepared
from trainers.runtime.devices import default_device
from trainers.store.store import WEIGHTS, Store
from trainers.tasks import TASKS, Task
from trainers.training.evaluation import ALIGNMENT_BATCH, as_rows, natural_rows, tap_outputs
from trainers.training.setup import RunSetup, constrained, initial
from trainers.training.train import load

#: Weights of a replicate: before its training, or after it.
Moment = Literal["initial", "final"]
Taps = dict[str, Tensor]

#: Networks that are cached: two guides and two moments of a target.
CACHED_NETWORKS = 4
#: Size of the parameters of the largest network that is cached.
MAX_NETWORK_BYTES = 2**28
#: Most memory for the features of a network, and for each of their prepared forms.
CACHED_BYTES = 2**27


@dataclass(frozen=True)
class Side:
    """A finished replicate at one moment, `initial` or `final`.

    `store` is the URI of its store. `seed` is None for a pretrained guide at its final weights.
    `weights_digest` is that of the final weights, because a replicate that is trained again
    elsewhere may differ in its last bits.
    """

    store: str
    id: str
    moment: Moment
    condition: Condition
    seed: int | None
    weights_digest: str

    @classmethod
    def of(cls, store: Store, identifier: str, moment: Moment, seed: int | None = None) -> Side:
        """The replicate `identifier` of a store at a moment.

        `seed` is needed for the initial weights of a pretrained guide. Raises FileNotFoundError if
        the replicate is not finished, UserError for an unknown moment or a missing seed.
        """
        if moment not in ("initial", "final"):
            raise UserError(f"moment is {moment!r}; allowed: initial, final")
        replicate = store.replicate(identifier)
        result = replicate.result()
        if result is None:
            raise FileNotFoundError(
                f"{replicate.folder.uri}: no finished replicate, so nothing to align"
            )
        condition, recorded_seed = replicate.condition(), replicate.described()["seed"]
        if recorded_seed is None and moment == "initial":
            if seed is None:
                raise UserError(
                    f"{identifier} is a pretrained guide, which has no seed; its initial weights "
                    "need guide_seed"
                )
            recorded_seed = seed
        digest = {**result.absent, **result.files}[WEIGHTS].digest
        return cls(store.uri, identifier, moment, condition, recorded_seed, digest)

    @property
    def task(self) -> Task:
        """Its task, with the data on which it was trained."""
        data_seed = None if self.seed is None else self.condition.data_seed(self.seed)
        return tasks.build(self.condition.task, data_seed)

    @property
    def identity(self) -> list[str]:
        """Replicate, moment and digest, which tell its weights from all others, but for a seed."""
        return [self.id, self.moment, self.weights_digest]

    @property
    def own_seed(self) -> list[int]:
        """The seed of its weights where its id does not have it: of a pretrained guide."""
        return [self.seed] if self.seed is not None and self.condition.weights else []

    def network(self) -> Network:
        """The network with its weights at that moment, on the default device."""
        if self.moment == "final":
            return load(self.store, self.id)
        assert self.seed is not None, self
        setup = RunSetup.of(self.condition, self.seed)
        network, rival = initial(setup), self.condition.rival
        constrained(network, setup)
        if rival is not None and rival.weights is not None:
            pretrained.load_into(network, rival.weights, self.store)
        if self.condition.role == "guide":
            calibrate(network, setup.task, setup.streams)
        return network.to(default_device())

    @property
    def has_rivals_start(self) -> bool:
        """Whether it is before training, as a rival has it."""
        return self.moment == "initial" and self.condition.rival is not None


class SideFeatures:
    """Features of a network on the inputs on which it is compared."""

    def __init__(self, network: Network, task: Task, inputs: Tensor) -> None:
        self.task, self.inputs = task, inputs
        self._network = network
        self._batches: list[Taps] | None = None
        self._prepared: dict[tuple[str, int, bool], dict[str, Prepared]] = {}

    @property
    def network_bytes(self) -> int:
        """Size of the network's parameters."""
        return sum(p.numel() * p.element_size() for p in self._network.parameters())

    def features(self, inputs: Tensor) -> Taps:
        """Features (n, p) of `inputs` (batch, *shape), by tap."""
        outputs = tap_outputs(self._network, inputs, default_device())
        return {tap: as_rows(output, self.task, inputs) for tap, output in outputs.items()}

    def batches(self) -> Iterator[Taps]:
        """Features of all inputs by tap, in batches that differ in size by one example at most."""
        if self._batches is None:
            if 4 * self.num_rows * sum(self.widths) > CACHED_BYTES:
                return self._forward()
            self._batches = list(self._forward())
        return iter(self._batches)

    def _forward(self) -> Iterator[Taps]:
        count = -(-len(self.inputs) // min(ALIGNMENT_BATCH, self.task.forward_batch))
        for part in torch.arange(len(self.inputs)).tensor_split(count):
            # A slice of inputs in memory is a view: nothing is copied.
            yield self.features(self.inputs[int(part[0]) : int(part[-1]) + 1])

    def prepared(
        self, measure: Measure, label: str, num_examples: int, *, in_grams: bool
    ) -> dict[str, Prepared]:
        """Sides prepared by a measure from evenly spaced examples, by tap.

        With `in_grams` each side is its Gram matrix. `label` identifies the measure in the cache.
        Raises UserError if the measure is not defined for a tap's shape.
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
        # A prepared side is at most an n x n matrix, or the features in float64.
        if sum(8 * len(x) * max(x.shape) for x in features.values()) <= CACHED_BYTES:
            self._prepared[key] = prepared
        return prepared

    @cached_property
    def _probe(self) -> Taps:
        return self.features(self.inputs[:1])

    @property
    def widths(self) -> Sequence[int]:
        """Number of features of each tap."""
        return [tap.shape[1] for tap in self._probe.values()]

    @property
    def num_rows(self) -> int:
        """Rows of all inputs, including padding."""
        return len(self.inputs) * self.rows_each

    @property
    def rows_each(self) -> int:
        """Most rows of an example: 1, or the tokens of the longest sequence."""
        return self.task.input.shape[0] if natural_rows(self.task) == "tokens" else 1


class Sides:
    """The networks that were compared last, with their features, for the next comparisons.

    Its owner makes comparisons one after another, and drops it after the last one.
    """

    def __init__(self) -> None:
        self._cached: OrderedDict[Hashable, SideFeatures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._cached)

    def features(self, side: Side, split: str) -> SideFeatures:
        """The features of a side on a split; raises UserError if the task has no such split."""
        target, task = side.condition.target, side.condition.task
        # The registered entries change when a name is registered again.
        key = side, split, default_device(), ARCHITECTURES[target.name], TASKS[task.name]
        features = self._cached.pop(key, None)
        if features is None:
            features = _features(side, split)
        if features.network_bytes <= MAX_NETWORK_BYTES:
            self._cached[key] = features
        if len(self._cached) > CACHED_NETWORKS:
            self._cached.popitem(last=False)
        return features


def _features(side: Side, split: str) -> SideFeatures:
    task = side.task
    if split not in task.splits:
        allowed = ", ".join(sorted(task.splits))
        raise UserError(f"split is {split!r}; this task has {allowed}")
    return SideFeatures(side.network(), task, task.splits[split].inputs)


def _prepare(measure: Measure, label: str, tap: str, features: Tensor) -> Prepared:
    try:
        return measure.prepare(features)
    except ValueError as error:
        raise UserError(f"{label} of tap {tap!r}: {error}") from error
