"""Named streams of random numbers: every draw is a function of (stream, step) and nothing else.

So runs that share a seed share their draws whatever else differs between them, and a resumed run
needs no generator state to go on exactly where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainers.registry import Component
from trainers.runtime.devices import default_device
from trainers.runtime.precision import deterministic


class Streams:
    """The streams of one replicate, derived from (role, task, network, seed).

    `role` is `target` or `guide`: a guide is never its target's twin. Guided and unguided runs of
    one target and seed have the same streams, and so differ in the guidance alone.
    """

    def __init__(self, role: str, task: Component, network: Component, seed: int) -> None:
        parts = [role, task.name, task.options, network.name, network.options, seed]
        #: What the streams are derived from: equal keys, equal draws.
        self.key = json.dumps(parts, separators=(",", ":")).encode()

    def seed(self, name: str, index: int = 0) -> int:
        """The 63-bit seed of draw `index` of stream `name`."""
        digest = hashlib.sha256(self.key + f"/{name}/{index}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def generator(self, name: str, index: int = 0) -> torch.Generator:
        """A CPU generator for draw `index` (a step, an epoch) of stream `name`."""
        return torch.Generator().manual_seed(self.seed(name, index))


def seed_global(seed: int) -> None:
    """`torch.manual_seed` for every step of a run.

    Where CUDA is not in use, PyTorch notes each call with its stack for when it will be: that takes
    longer than all else about a small step that is not arithmetic.
    """
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@contextmanager
def isolated(threads: int) -> Iterator[None]:
    """Leave the caller's global generators, thread count and CUDA settings as they were."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        # Of several GPUs that are visible one is this process's.
        on_gpu = default_device().type == "cuda"
        devices = [torch.cuda.current_device()] if on_gpu else []
        with torch.random.fork_rng(devices), deterministic():
            yield
    finally:
        torch.set_num_threads(before)
