"""A network of a user whose next step, once a file asks for it, finds no memory.

Studies import it as a module of a user (`imports:`), so tests do not.
"""

from __future__ import annotations

import math
import os
import resource
from pathlib import Path

import torch
from torch import Tensor

from trainers.architectures import Network, register
from trainers.architectures.fcn import FullyConnected
from trainers.tasks import InputSpec, OutputSpec

#: The file that asks; who finds it takes it away.
_ASKING = Path(os.environ.get("GREEDY_FILE", os.devnull))
_MIB = 2**20


class Greedy(FullyConnected):
    """Layers with batch norm, as those of `fcn`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Answers (batch, num_outputs) of inputs (batch, *shape)."""
        return _beyond_the_limit() if _is_asked() else super().forward(inputs)


def _is_asked() -> bool:
    if not _ASKING.is_file():
        return False
    try:
        _ASKING.unlink()
    except FileNotFoundError:
        return False
    return True


def _beyond_the_limit() -> Tensor:
    """Ask for more than this process may have, which the allocator refuses."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + 64 * _MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        return torch.empty(1024 * _MIB, dtype=torch.uint8)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@register("greedy", inputs=("image",))
def greedy(input: InputSpec, output: OutputSpec, *, depth: int = 2, width: int = 64) -> Network:
    """`depth` hidden layers of `width` units."""
    return Greedy(math.prod(input.shape), output.num_outputs, depth, width, "batch", 0.0)
