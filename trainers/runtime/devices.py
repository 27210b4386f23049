"""Devices on which networks run, and copies of tensors to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_on_cpu = ContextVar("_on_cpu", default=False)


def default_device() -> torch.device:
    """CUDA if it is available, except inside `on_cpu`; else the CPU."""
    cuda = torch.cuda.is_available() and not _on_cpu.get()
    return torch.device("cuda" if cuda else "cpu")


@contextmanager
def on_cpu() -> Iterator[None]:
    """Context in which networks run on the CPU, for processes that were given no GPU."""
    token = _on_cpu.set(True)
    try:
        yield
    finally:
        _on_cpu.reset(token)


def device_name(device: torch.device) -> str:
    """Name of a GPU, or of a processor with the vector instructions that PyTorch uses of it.

    Numbers are bitwise the same on devices of one name alone: `cpu (AMD EPYC, AVX512)`.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    known = torch.cpu.get_capabilities()
    name = known.get("cpu_name") or known["architecture"]
    return f"cpu ({name}, {torch.backends.cpu.get_cpu_capability()})"


def copied(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy of a tensor on the device.

    Networks and a task's functions always get copies, because they may work in place, and the data
    is shared.
    """
    return tensor.to(device, copy=True)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor moved to the device, without synchronising; the tensor itself on the CPU."""
    if device.type != "cuda":
        return tensor
    # A copy from pinned memory is asynchronous.
    return tensor.pin_memory().to(device, non_blocking=True)
