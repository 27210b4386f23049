"""What networks run on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_on_cpu = ContextVar("_on_cpu", default=False)


def default_device() -> torch.device:
    """CUDA where there is any, but inside `on_cpu`."""
    cuda = torch.cuda.is_available() and not _on_cpu.get()
    return torch.device("cuda" if cuda else "cpu")


@contextmanager
def on_cpu() -> Iterator[None]:
    """Leave this machine's GPUs alone: what runs inside was not given one."""
    token = _on_cpu.set(True)
    try:
        yield
    finally:
        _on_cpu.reset(token)


def device_name(device: torch.device) -> str:
    """The device in words: `cpu`, or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def copied(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on the device.

    What networks and a task's functions get is always one: they may work in place on it, and the
    data, which others see too, stays what it is.
    """
    return tensor.to(device, copy=True)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device, without a wait for it."""
    if device.type != "cuda":
        return tensor
    # From pinned memory the copy is queued, and the host goes on.
    return tensor.pin_memory().to(device, non_blocking=True)
