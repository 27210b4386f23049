"""Layers with a geometry as dense matrices, for layers of fully connected networks.

A layer of places sees features (channels, *places) flattened, as networks flatten their inputs. It
fills the first rows and columns of a linear layer's matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from trainers.architectures import Network
from trainers.errors import UserError
from trainers.tasks import Task

#: Inputs that are pushed through a convolution at once.
_CHUNK = 256
_NORMS = (_BatchNorm, nn.LayerNorm)


@dataclass(frozen=True, kw_only=True)
class Dense:
    """The first rows of a linear layer: `weight` (rows, features), `bias` (rows,), and its place.

    `shape` is that of the features which these rows are: (channels, *places).
    """

    layer: nn.Linear
    weight: Tensor
    bias: Tensor
    shape: tuple[int, ...]


def hidden_layers(rival: str, network: Network, task: Task) -> list[nn.Linear]:
    """The linear layers of a fully connected network but for the last, from input to output.

    Raises UserError, in the name of a rival, for any other network.
    """
    found: list[nn.Linear] = []
    for name, module in network.named_modules():
        own = next(module.parameters(recurse=False), None)
        if isinstance(module, nn.Linear):
            found.append(module)
        elif own is not None and not isinstance(module, _NORMS):
            raise _refused(rival, f"{name!r} is a {type(module).__name__}")
    sizes = [math.prod(task.input.shape), *(layer.out_features for layer in found)]
    chained = all(layer.in_features == size for layer, size in zip(found, sizes, strict=False))
    if task.input.kind == "tokens" or len(found) < 2 or not chained:
        raise _refused(rival, "its linear layers do not lead from the whole input to the output")
    return found[:-1]


def convolutions(
    rival: str, layers: list[nn.Linear], task: Task, *, kernel: int, channels: int
) -> Iterator[Dense]:
    """Random convolutions in place of linear layers, the first on the task's input.

    Each has the smallest stride that leaves room for `channels` channels, then as many channels as
    there is room for, zero padding of half a kernel, and PyTorch's default initialisation. Its bias
    is the same at all places. Raises UserError for a layer with less room, and an even `kernel`.
    """
    if kernel % 2 == 0:
        raise UserError(
            f"rival {rival}: kernel is {kernel}; allowed: odd numbers, which have a middle"
        )
    shape = tuple(task.input.shape)
    for layer in layers:
        yield (dense := _convolution(rival, layer, shape, kernel, channels))
        shape = dense.shape


def mixers(rival: str, layers: list[nn.Linear], task: Task, *, patch: int) -> Iterator[Dense]:
    """The linear maps of an MLP-Mixer: of patches of `patch` side, then over patches and channels.

    They alternate, in PyTorch's default initialisation. Raises UserError where the input cannot be
    cut, or a layer has no room for a channel of each patch.
    """
    first, *others = layers
    places = task.input.shape[1:]
    if any(size % patch for size in places):
        raise UserError(
            f"rival {rival}: kernel is {patch}, which does not divide the input "
            f"{'x'.join(map(str, places))}; with prior mixer it is the side of a patch"
        )
    cut = tuple(size // patch for size in places)
    room = first.out_features // math.prod(cut)
    if not room:
        raise _no_room(rival, first, math.prod(cut), 1)
    yield (dense := _filled(first, tuple(task.input.shape), room, patch, patch, 0))
    for index, layer in enumerate(others):
        yield (dense := _mixed(rival, layer, dense.shape, over_places=index % 2 == 0))


def _mixed(rival: str, layer: nn.Linear, shape: tuple[int, ...], *, over_places: bool) -> Dense:
    """A linear map over places, the same for each channel, or over channels, for each place."""
    channels, places = shape[0], math.prod(shape[1:])
    if layer.out_features < channels * places:
        raise _no_room(rival, layer, places, channels)
    size = places if over_places else channels
    drawn = nn.Linear(size, size)
    weight, bias = drawn.weight.detach(), drawn.bias.detach()
    if over_places:
        whole = torch.kron(torch.eye(channels), weight)
        return Dense(layer=layer, weight=whole, bias=bias.repeat(channels), shape=shape)
    whole = torch.kron(weight, torch.eye(places))
    return Dense(layer=layer, weight=whole, bias=bias.repeat_interleave(places), shape=shape)


def _convolution(
    rival: str, layer: nn.Linear, shape: tuple[int, ...], kernel: int, channels: int
) -> Dense:
    for stride in range(1, max(shape[1:]) + 1):
        places = math.prod(-(-size // stride) for size in shape[1:])
        if channels * places <= layer.out_features:
            room = layer.out_features // places
            return _filled(layer, shape, room, kernel, stride, kernel // 2)
    raise _no_room(rival, layer, 1, channels)


def _filled(
    layer: nn.Linear, shape: tuple[int, ...], channels: int, kernel: int, stride: int, padding: int
) -> Dense:
    """A random convolution of features of a shape as a matrix."""
    kind = nn.Conv2d if len(shape) == 3 else nn.Conv1d
    drawn = kind(shape[0], channels, kernel, stride=stride, padding=padding)
    weight, bias = drawn.weight.detach(), drawn.bias.detach()  # type: ignore[union-attr]
    whole, found = as_matrix(weight, shape, stride=stride, padding=padding)
    return Dense(
        layer=layer,
        weight=whole,
        bias=bias.repeat_interleave(math.prod(found[1:])),
        shape=found,
    )


def as_matrix(
    weight: Tensor, shape: tuple[int, ...], *, stride: int, padding: int
) -> tuple[Tensor, tuple[int, ...]]:
    """The matrix (features out, features in) of a convolution, and the shape of what it gives.

    `weight` is (channels out, channels in, *kernel), `shape` (channels in, *places).
    """
    convolve = functional.conv2d if len(shape) == 3 else functional.conv1d
    size, columns, found = math.prod(shape), [], torch.Size()
    for chunk in torch.split(torch.arange(size), _CHUNK):
        ones = torch.zeros(len(chunk), size)
        ones[torch.arange(len(chunk)), chunk] = 1
        given = convolve(ones.view(-1, *shape), weight, stride=stride, padding=padding)
        columns.append(given.flatten(1).T)
        found = given.shape[1:]
    return torch.cat(columns, 1), tuple(found)


def widened(dense: Dense) -> Tensor:
    """The rows of a layer's matrix, zero at features that are no place's: (rows, in_features)."""
    missing = dense.layer.in_features - dense.weight.shape[1]
    return functional.pad(dense.weight, (0, missing))


def _refused(rival: str, why: str) -> UserError:
    return UserError(
        f"rival {rival} takes fully connected networks, of linear layers and norms alone, on "
        f"images or signals: {why}"
    )


def _no_room(rival: str, layer: nn.Linear, places: int, channels: int) -> UserError:
    return UserError(
        f"rival {rival}: a layer of {layer.out_features} units has no room for {channels} channels "
        f"at {places} places"
    )
