"""Precision and determinism: the settings of PyTorch during a run, restored after it.

The policy. Networks run in float32, or under bfloat16 autocast if `train.precision` says so, and
guides run in the target's precision; distances and losses are always computed in float32. On CUDA,
TensorFloat-32 is off (its three digits are too few for Gram matrices), and kernels are
deterministic where PyTorch has such, in attention the plain ones: the same seed gives the same bits
on the same GPU type. Evaluation is in float32.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch

from trainers.runtime.devices import default_device

# cuBLAS, which reads this at its first use, is deterministic only with a fixed workspace.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

Precision = Literal["float32", "bfloat16"]


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Context of mixed precision for a network's forward pass; without effect in float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@contextmanager
def deterministic() -> Iterator[None]:
    """Context with the policy's settings if networks run on CUDA; otherwise without effect."""
    if default_device().type != "cuda":
        yield
        return
    with strict():
        yield


@contextmanager
def strict() -> Iterator[None]:
    """Context with the policy's settings for CUDA."""
    cuda: Any = torch.backends.cuda
    cudnn: Any = torch.backends.cudnn
    settings: list[tuple[Callable[[], Any], Callable[[Any], object], Any]] = [
        # The older names, `allow_tf32`, cannot be read once a caller has used these.
        *(_attribute(p, "fp32_precision", "ieee") for p in (cuda.matmul, cudnn.conv, cudnn.rnn)),
        _attribute(cudnn, "benchmark", False),
        _attribute(cudnn, "deterministic", True),
        # These attention kernels sum gradients in no fixed order.
        (cuda.flash_sdp_enabled, cuda.enable_flash_sdp, False),
        (cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp, False),
        (cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp, False),
        (_algorithms, _use_algorithms, (True, True)),
        # Filling all new memory costs time, and is not needed: it is written before it is read.
        _attribute(torch.utils.deterministic, "fill_uninitialized_memory", False),
    ]
    before = [get() for get, _, _ in settings]
    try:
        for _, put, value in settings:
            put(value)
        yield
    finally:
        for (_, put, _), value in zip(settings, before, strict=True):
            put(value)


def _attribute(
    place: Any, name: str, value: Any
) -> tuple[Callable[[], Any], Callable[[Any], object], Any]:
    return lambda: getattr(place, name), lambda new: setattr(place, name, new), value


def _algorithms() -> tuple[bool, bool]:
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    return torch.are_deterministic_algorithms_enabled(), warn_only


def _use_algorithms(mode: tuple[bool, bool]) -> None:
    # A warning, not an error: some networks of other libraries use pooling without such kernels.
    enabled, warn_only = mode
    torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
