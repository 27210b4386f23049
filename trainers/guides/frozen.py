"""Frozen guides: a network in evaluation mode without gradients, and its features of inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from trainers import architectures
from trainers.architectures import Network, NetworkError, taps
from trainers.conditions.cache_form import DEFAULT_BYTES
from trainers.conditions.guidance import Guide
from trainers.data.lazy import Job, made_ahead
from trainers.guides.features import Cached
from trainers.parallel.workers import ALONE, Workers
from trainers.runtime.devices import copied, default_device
from trainers.runtime.precision import Precision, autocast
from trainers.runtime.streams import Streams
from trainers.tasks import Task
from trainers.tasks.batches import chunks

#: Size in bytes up to which features are kept in memory if the spec has no cache.
CACHE_BYTES = DEFAULT_BYTES
CALIBRATION_BATCHES, CALIBRATION_BATCH = 20, 250

Outputs = Mapping[str, Tensor]


class FrozenGuide:
    """A guide network in evaluation mode without gradients, on `device`.

    `taps` are those whose outputs it returns, by default the network's. In training it runs in
    `precision`. Features are cached by example, unless the examples of a batch are `coupled` (by
    batch norm): then they depend on the whole batch. Each of several `workers` has the guide, and
    caches the features of the full batch.
    """

    def __init__(
        self,
        network: Network,
        task: Task,
        device: torch.device,
        *,
        taps: tuple[str, ...] | None = None,
        coupled: bool = False,
        precision: Precision = "float32",
        workers: Workers = ALONE,
    ) -> None:
        self.network = network.to(device).eval().requires_grad_(requires_grad=False)
        self.task, self.device, self.coupled = task, device, coupled
        self.precision: Precision = precision
        self.taps = network.taps if taps is None else taps
        self._workers = workers
        self._streamed: dict[tuple[bytes, int], StreamedFeatures] = {}
        #: Key and cache of `disk_cache`, by kind of inputs.
        self.cached: dict[str, tuple[str, Cached]] = {}

    @torch.inference_mode()
    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Tap outputs (batch, ...) for inputs (batch, *shape), in the precision of training."""
        with autocast(self.device, self.precision):
            return self._outputs(inputs)

    @torch.inference_mode()
    def evaluate(self, inputs: Tensor) -> dict[str, Tensor]:
        """Tap outputs (batch, ...) for inputs (batch, *shape), in float32."""
        return self._outputs(inputs)

    def _outputs(self, inputs: Tensor) -> dict[str, Tensor]:
        recording = taps.record(self.network, self.taps, overwritten=self._overwritten)
        with recording as outputs:
            self.network(copied(inputs, self.device))
            return dict(outputs)

    @cached_property
    def _overwritten(self) -> frozenset[str]:
        """Taps whose outputs the network changes in place.

        Raises NetworkError if a forward pass changes the network's buffers: guides are shared.
        """
        before = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        # Batch norm by the batch's statistics needs two examples.
        probe = copied(self.task.validation.inputs[: 2 if self.coupled else 1], self.device)
        found = taps.overwritten(self.network, self.taps, probe)
        for name, buffer in self.network.named_buffers():
            old = before.get(name)
            # Buffers that a forward pass adds or enlarges are tables for the next one, and allowed.
            if old is not None and old.shape == buffer.shape and not torch.equal(buffer, old):
                raise NetworkError(
                    f"guide {type(self.network).__name__}: its forward pass changes its buffer "
                    f"{name!r} in evaluation mode, so its features would depend on what it saw "
                    "before"
                )
        return found

    @torch.inference_mode()
    def forward_shared(self, inputs: Tensor) -> dict[str, Tensor]:
        """Tap outputs as of `forward`, for a batch that all workers hold; each runs its shard."""
        if self.coupled:
            # A shard has other statistics than the batch.
            return self.forward(inputs)
        shard = self.forward(self._workers.shard(inputs))
        return {tap: self._workers.gather(output, len(inputs)) for tap, output in shard.items()}

    def forward_all(self, inputs: Tensor) -> dict[str, Tensor]:
        """Tap outputs (N, ...) for any number of inputs, computed in batches of fixed size."""
        size, loaders = self.task.forward_batch, self._workers.loaders
        parts = [self.forward(part) for part in chunks(inputs, size, loaders=loaders)]
        return {tap: torch.cat([part[tap] for part in parts]) for tap in self.taps}

    @cached_property
    def train_features(self) -> dict[str, Tensor] | None:
        """Tap outputs (N, ...) for all training inputs.

        None if data is streamed or augmented, if examples are coupled, or if the outputs would be
        larger than `CACHE_BYTES`.
        """
        if self.task.num_train is None or self.task.augmented or self.coupled:
            return None
        if self._example_bytes * self.task.num_train > CACHE_BYTES:
            return None
        return self.forward_all(self.task.train.inputs)

    def streamed_features(
        self, streams: Streams, batch_size: int, steps: range
    ) -> StreamedFeatures | None:
        """The cache of streamed batches of these streams and this batch size.

        None if data is fixed, or if the batches of `steps` do not fit in `CACHE_BYTES` beside the
        caches of other streams.
        """
        if self.task.num_train is not None:
            return None
        key = streams.key, batch_size
        step_bytes = self._example_bytes * batch_size
        used = sum(cached.nbytes for k, cached in self._streamed.items() if k != key)
        if used + step_bytes * len(steps) > CACHE_BYTES:
            return None
        cached = self._streamed.setdefault(key, StreamedFeatures(step_bytes))
        cached.steps.update(steps)
        return cached

    @cached_property
    def output_shapes(self) -> dict[str, torch.Size]:
        """Shape of each tap's output for one example."""
        probe = self.forward(self.task.validation.inputs[:2])
        return {tap: output.shape[1:] for tap, output in probe.items()}

    @property
    def _example_bytes(self) -> int:
        return 4 * sum(shape.numel() for shape in self.output_shapes.values())


class StreamedFeatures:
    """A guide's features of streamed batches by step, shared by runs with the same batches.

    Memory for all steps is allocated at once: allocated step by step, it was scattered among
    short-lived tensors, took half as much again, and cost a quarter of a forward pass more.
    """

    def __init__(self, step_bytes: int) -> None:
        #: Steps whose features some run needs.
        self.steps: set[int] = set()
        self._step_bytes = step_bytes
        self._outputs: list[dict[str, Tensor]] = []
        #: Index in `_outputs` of each step that is filled.
        self._filled: dict[int, int] = {}

    @property
    def nbytes(self) -> int:
        """Size in bytes when all steps are filled."""
        return self._step_bytes * len(self.steps)

    @torch.inference_mode()
    def at(self, step: int, forward: Callable[[], Outputs]) -> Outputs:
        """Tap outputs (batch, ...) of the batch of a step, from `forward` at its first use."""
        if step not in self._filled:
            features = forward()
            while len(self._outputs) < len(self.steps):
                like = {tap: torch.empty_like(output) for tap, output in features.items()}
                self._outputs.append(like)
            index = len(self._filled)
            for tap, output in features.items():
                self._outputs[index][tap].copy_(output)
            self._filled[step] = index
        return self._outputs[self._filled[step]]


def untrained(guide: Guide, task: Task, streams: Streams, *, loaders: int = 0) -> Network:
    """The network of an untrained guide; `loaders` as in `chunks`.

    Its batch norm is calibrated on training data, as initialised (`eval`), or by each `batch`.
    """
    torch.manual_seed(streams.seed("init"))
    network = architectures.build(guide.architecture, task.input, task.output)
    if guide.batch_norm == "calibrated":
        calibrate(network, task, streams, loaders=loaders)
    elif guide.batch_norm == "batch":
        for norm in _batch_norms(network):
            # Without running statistics the network always uses those of the batch.
            norm.track_running_stats = False
            norm.running_mean = norm.running_var = norm.num_batches_tracked = None
    return network


def _batch_norms(network: Network) -> list[_BatchNorm]:
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


@torch.no_grad()
def calibrate(network: Network, task: Task, streams: Streams, *, loaders: int = 0) -> None:
    """Set batch-norm running statistics to their average over training batches, and freeze them.

    PyTorch's initial statistics (mean 0, variance 1) do not normalise the network's activations;
    batch statistics would couple examples. Moves the network to the default device.
    """
    norms = _batch_norms(network)
    if not norms:
        return
    device = default_device()
    network.to(device).eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for inputs in _calibration_inputs(task, streams, loaders):
        network(copied(inputs, device))
    network.eval()


def _calibration_inputs(task: Task, streams: Streams, loaders: int) -> Iterator[Tensor]:
    if task.num_train is None:
        for index in range(CALIBRATION_BATCHES):
            generator = streams.generator("calibration", index)
            yield task.sample(CALIBRATION_BATCH, generator).inputs
        return
    order = torch.randperm(task.num_train, generator=streams.generator("calibration"))
    count = max(1, min(CALIBRATION_BATCHES, task.num_train // CALIBRATION_BATCH))
    batches = order[: count * CALIBRATION_BATCH].tensor_split(count)
    lazy = task.train.lazy
    if lazy is None:
        yield from (task.train.inputs[batch] for batch in batches)
    else:
        jobs: list[list[Job]] = [[(index, None) for index in b.tolist()] for b in batches]
        yield from made_ahead(lazy, jobs, loaders)
