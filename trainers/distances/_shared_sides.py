"""The target's side of a distance, which several guides of a step may share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from torch import Tensor

_Side = TypeVar("_Side")
#: Sides made so far in the innermost context, with the tensors that they are of.
_SIDES: ContextVar[dict[Hashable, tuple[Sequence[Tensor], Any]] | None] = ContextVar(
    "sides", default=None
)


@contextmanager
def shared_sides() -> Iterator[None]:
    """Context in which the side of the same features is made once, to the same bits.

    It keeps the sides, and so their memory, until it ends: use one for each step.
    """
    token = _SIDES.set({})
    try:
        yield
    finally:
        _SIDES.reset(token)


def shared_side(tensors: Sequence[Tensor], options: Hashable, make: Callable[[], _Side]) -> _Side:
    """The side that `make` returns: anew, or in a context `shared_sides` once for equal arguments.

    `make` is a function of `tensors` and `options` alone, and nobody changes what it returns.
    """
    sides = _SIDES.get()
    if sides is None:
        return make()
    # Views of one tensor are the same features; a tensor that is kept gives its memory to no other.
    key = (options, *map(_memory, tensors))
    if key not in sides:
        sides[key] = (tensors, make())
    found: _Side = sides[key][1]
    return found


def _memory(tensor: Tensor) -> Hashable:
    """Where a tensor lies, how, and how often it was changed there."""
    where = (tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
    return (*where, None if tensor.is_inference() else tensor._version)
