"""Shapes of what common operators return, for networks that run forward without values.

PyTorch knows them too. But its kernels for tensors without values are written in Python, and import
the compiler when one is first called: a second, where a plan takes less. What has no rule here, and
what does not fit together, is left to them: errors are PyTorch's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
Shape = Sequence[int]
Rule = Callable[..., Any]


class _MisfitError(Exception):
    """Shapes that do not fit together."""


def _fit(*equal: Any) -> None:
    if any(one != equal[0] for one in equal):
        raise _MisfitError


class ShapeRules(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """In its context, operators on tensors without values follow `RULES` where they have one."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nothing is compiled here, and to say so to the compiler would import it.
        return False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        rule = RULES.get(func._overloadpacket)
        if rule is not None and _is_empty(args, kwargs):
            with suppress(_MisfitError):
                found = rule(*args, **kwargs)
                if found is not None:
                    return found
        return func(*args, **kwargs)


def _is_empty(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether the first tensor, or what is made, has no values."""
    first = args[0][0] if args and isinstance(args[0], list) and args[0] else args[0]
    if isinstance(first, Tensor):
        return first.is_meta
    device = kwargs.get("device")
    return device is not None and torch.device(device).type == "meta"


def _same(first: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
    return first.new_empty(first.shape)


def _in_place(first: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
    return first


def _broadcast(first: Tensor, second: Any, *_args: Any, **_kwargs: Any) -> Tensor:
    shape = _broadcast_shape(first.shape, getattr(second, "shape", ()))
    return first.new_empty(shape, dtype=torch.result_type(first, second))


def _divide(first: Tensor, second: Any, **kwargs: Any) -> Tensor | None:
    quotient = _broadcast(first, second)
    return None if kwargs or not quotient.is_floating_point() else quotient


def _real(first: Tensor) -> Tensor | None:
    return first.new_empty(first.shape) if first.is_floating_point() else None


def _broadcast_shape(first: Shape, second: Shape) -> Shape:
    sizes = list(zip_longest(reversed(first), reversed(second), fillvalue=1))
    for a, b in sizes:
        _fit(a if b == 1 else b, b if a == 1 else a)
    return [b if a == 1 else a for a, b in sizes][::-1]


def _compare(first: Tensor, second: Any) -> Tensor:
    shape = _broadcast_shape(first.shape, getattr(second, "shape", ()))
    return first.new_empty(shape, dtype=torch.bool)


def _copied(first: Tensor, **kwargs: Any) -> Tensor:
    like = {key: kwargs[key] for key in ("dtype", "device") if kwargs.get(key) is not None}
    return first.new_empty(first.shape, **like)


def _index(inputs: Tensor, indices: Sequence[Tensor | None]) -> Tensor | None:
    if any(index is None or index.dtype != torch.int64 for index in indices):
        return None
    shape: Shape = ()
    for index in indices:
        assert index is not None
        shape = _broadcast_shape(shape, index.shape)
    return inputs.new_empty((*shape, *inputs.shape[len(indices) :]))


def _argmax(inputs: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor | None:
    if dim is None:
        return None
    return inputs.new_empty(_reduced(inputs.shape, [dim], keepdim), dtype=torch.int64)


def _where(condition: Tensor, first: Tensor, second: Tensor) -> Tensor:
    shape = _broadcast_shape(_broadcast_shape(condition.shape, first.shape), second.shape)
    return first.new_empty(shape, dtype=torch.result_type(first, second))


def _arange(*bounds: Any, **kwargs: Any) -> Tensor | None:
    if not all(type(bound) is int for bound in bounds):
        return None
    dtype = kwargs.get("dtype") or torch.int64
    return torch.empty(len(range(*bounds)), dtype=dtype, device=kwargs["device"])


def _view(first: Tensor, shape: Shape) -> Tensor:
    # No part of the other's memory: there are no values to share.
    known = math.prod(size for size in shape if size != -1)
    sizes = [first.numel() // max(known, 1) if size == -1 else size for size in shape]
    _fit(math.prod(sizes), first.numel())
    return first.new_empty(sizes)


def _mm(first: Tensor, second: Tensor) -> Tensor:
    _fit((*first.shape[:-2], first.shape[-1]), second.shape[:-1])
    return first.new_empty((*first.shape[:-1], second.shape[-1]))


def _addmm(bias: Tensor, first: Tensor, second: Tensor, **_kwargs: Any) -> Tensor:
    product = _mm(first, second)
    _fit(_broadcast_shape(bias.shape, product.shape), [*product.shape])
    return product


def _embedding(weight: Tensor, indices: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
    return weight.new_empty((*indices.shape, weight.shape[1]))


def _batch_norm(
    first: Tensor, weight: Tensor | None, _bias: Tensor | None, mean: Tensor | None, *_rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    _fit(*(each.shape for each in (weight, mean) if each is not None), first.shape[1:2])
    return _with_statistics(first)


def _layer_norm(first: Tensor, shape: Shape, *_rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    _fit([*first.shape[-len(shape) :]], [*shape])
    return _with_statistics(first)


def _with_statistics(first: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # Nothing reads the statistics in a forward pass alone.
    nothing = first.new_empty(0)
    return first.new_empty(first.shape), nothing, nothing


def _convolution(
    inputs: Tensor,
    weight: Tensor,
    _bias: Tensor | None,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    transposed: bool,
    _output_padding: Shape,
    groups: int,
) -> Tensor | None:
    if transposed or inputs.dim() != weight.dim():
        return None
    _fit(inputs.shape[1], groups * weight.shape[1])
    sizes = _windows(inputs.shape[2:], weight.shape[2:], stride, padding, dilation)
    return inputs.new_empty((inputs.shape[0], weight.shape[0], *sizes))


def _mean_or_sum(
    inputs: Tensor, dim: Any = None, keepdim: bool = False, **kwargs: Any
) -> Tensor | None:
    if not isinstance(dim, list | tuple) or not dim or kwargs.get("dtype") is not None:
        return None
    dtype = inputs.dtype if inputs.is_floating_point() else torch.int64
    return inputs.new_empty(_reduced(inputs.shape, dim, keepdim), dtype=dtype)


def _reduced(shape: Shape, dims: Shape, keepdim: bool) -> Shape:
    gone = {axis % len(shape) for axis in dims}
    kept = ((axis, size) for axis, size in enumerate(shape) if keepdim or axis not in gone)
    return [1 if axis in gone else size for axis, size in kept]


def _eye(rows: int, columns: int | None = None, **kwargs: Any) -> Tensor:
    size = (rows, rows if columns is None else columns)
    return torch.empty(size, dtype=kwargs.get("dtype"), device=kwargs["device"])


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor | None:
    if len({(tensor.dim(), tensor.dtype) for tensor in tensors}) > 1:
        return None
    shape = list(tensors[0].shape)
    axis = dim % len(shape)
    _fit(*((*tensor.shape[:axis], *tensor.shape[axis + 1 :]) for tensor in tensors))
    shape[dim] = sum(tensor.shape[dim] for tensor in tensors)
    return tensors[0].new_empty(shape)


def _max_pool(inputs: Tensor, kernel: Shape, stride: Shape = (), *rest: Any) -> Any:
    padding, dilation = rest[0] if rest else [0], rest[1] if len(rest) > 1 else [1]
    if len(rest) > 2 and rest[2]:
        # Sizes are rounded up.
        return None
    sizes = _windows(inputs.shape[2:], kernel, stride or kernel, padding, dilation)
    output = inputs.new_empty((*inputs.shape[:2], *sizes))
    return output, output


def _windows(
    sizes: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> Sequence[int]:
    """How often a kernel fits along each dimension."""
    each = [
        list(values) * len(sizes) if len(values) == 1 else values
        for values in (kernel, stride, padding, dilation)
    ]
    found = [
        (size + 2 * pad - spread * (width - 1) - 1) // step + 1
        for size, width, step, pad, spread in zip(sizes, *each, strict=True)
    ]
    if min(*sizes, *found) < 1:
        raise _MisfitError
    return found


def _stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    _fit(*(tensor.shape for tensor in tensors))
    shape = list(tensors[0].shape)
    shape.insert(dim % (len(shape) + 1), len(tensors))
    return tensors[0].new_empty(shape)


RULES: Mapping[Any, Rule] = {
    **dict.fromkeys(
        (
            aten.relu, aten.tanh, aten.sigmoid, aten.gelu, aten.silu, aten.clone, aten.neg,
            aten._softmax, aten._safe_softmax, aten._log_softmax, aten.hardtanh,
            aten.tril, aten.triu, aten.clamp, aten.logical_not, aten.bitwise_not,
        ),
        _same,
    ),
    **dict.fromkeys(
        (
            aten.relu_, aten.tanh_, aten.sigmoid_, aten.add_, aten.mul_, aten.sub_, aten.div_,
            aten.zero_, aten.fill_, aten.copy_,
        ),
        _in_place,
    ),
    **dict.fromkeys(
        (aten.add, aten.sub, aten.mul, aten.bitwise_and, aten.bitwise_or), _broadcast
    ),
    **dict.fromkeys((aten.exp, aten.sin, aten.cos, aten.sqrt, aten.rsqrt), _real),
    aten.div: _divide,
    aten.native_batch_norm: _batch_norm,
    aten.native_layer_norm: _layer_norm,
    **dict.fromkeys((aten.view, aten._unsafe_view), _view),
    aten.mm: _mm,
    aten.bmm: _mm,
    aten.addmm: _addmm,
    aten.embedding: _embedding,
    aten.convolution: _convolution,
    **dict.fromkeys((aten.mean, aten.sum), _mean_or_sum),
    **dict.fromkeys((aten.eq, aten.ne, aten.lt, aten.le, aten.gt, aten.ge), _compare),
    aten._to_copy: _copied,
    aten.argmax: _argmax,
    aten.index: _index,
    aten.stack: _stack,
    aten.cat: _cat,
    aten.where: _where,
    aten.arange: _arange,
    aten.eye: _eye,
    aten.max_pool2d_with_indices: _max_pool,
}  # fmt: skip
