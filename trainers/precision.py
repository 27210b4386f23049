"""Precision and determinism: what a run asks of PyTorch, and puts back as it was.

The policy. Networks run in float32, or under bfloat16 autocast where `train.precision` says so, and
what guides them runs as they do; distances and losses are always computed in float32. On CUDA,
TensorFloat-32 is off (it keeps three digits, and a Gram matrix of them is no distance), and kernels
are the deterministic ones where PyTorch has them: the same seed gives the same bits on the same GPU
type. Evaluation is in float32.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Mixed precision for the forward pass of a network; nothing in float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


@contextmanager
def deterministic() -> Iterator[None]:
    """The policy on CUDA; without CUDA nothing."""
    if not torch.cuda.is_available():
        yield
        return
    # cuBLAS is deterministic only with a workspace of its own, chosen before its first use.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic)
    strict = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    matmul.allow_tf32 = cudnn.allow_tf32 = cudnn.benchmark = False
    cudnn.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)
