"""Named streams of random numbers: every draw is a function of (stream, step) and nothing else.

So runs with the same seed have the same draws whatever else differs, and a resumed run needs no
generator state to continue exactly.
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

    `role` is `target` or `guide`: a guide never has its target's streams. Guided and unguided runs
    of one target and seed have the same streams, and so differ only in the guidance.
    """

    def __init__(self, role: str, task: Component, network: Component, seed: int) -> None:
        parts = [role, task.name, task.options, network.name, network.options, seed]
        #: Key from which the streams are derived: equal keys give equal draws.
        self.key = json.dumps(parts, separators=(",", ":")).encode()

    def seed(self, name: str, index: int = 0) -> int:
        """The 63-bit seed of draw `index` of stream `name`."""
        digest = hashlib.sha256(self.key + f"/{name}/{index}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1

    def generator(self, name: str, index: int = 0) -> torch.Generator:
        """A CPU generator for draw `index` (a step, an epoch) of stream `name`."""
        return torch.Generator().manual_seed(self.seed(name, index))


def seed_global(seed: int) -> None:
    """Seed PyTorch's global generators, cheaply enough for every step of a run.

    Before CUDA is initialised, `torch.manual_seed` queues each call with its stack, which takes
    longer than all other overhead of a small step.
    """
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@contextmanager
def isolated(threads: int) -> Iterator[None]:
    """Context that restores the caller's global generators, thread count and CUDA settings."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        # Only the current GPU belongs to this process, even if others are visible.
        on_gpu = default_device().type == "cuda"
        devices = [torch.cuda.current_device()] if on_gpu else []
        with torch.random.fork_rng(devices), deterministic():
            yield
    finally:
        torch.set_num_threads(before)
