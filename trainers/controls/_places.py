"""Places of a tap's output in an image or a signal, and what stands at each in a control."""

from __future__ import annotations

import math
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional

from trainers.architectures.taps import Rows
from trainers.errors import UserError
from trainers.tasks.specs import InputKind

#: Kinds of rows that are positions of an output.
BY_POSITION: tuple[Rows, ...] = ("positions", "tokens")


def grid(shape: torch.Size, kind: InputKind) -> tuple[int, ...]:
    """Places (height, width) or (length,) of a tap's output of `shape` for one example.

    Empty for an output of one place. Raises UserError for tokens of images, which have none.
    """
    places = tuple(shape[1:])
    if kind == "image" and len(shape) == 2:
        if shape[0] > 1:
            raise UserError(
                f"a tap of shape {tuple(shape)} has {shape[0]} tokens, whose places in the image "
                "are not known; use rows: examples or pooled"
            )
        return ()
    return () if math.prod(places) == 1 else places


def cells(inputs: Tensor, places: tuple[int, ...]) -> Tensor:
    """Inputs (batch, channels, *size) cut into equal cells, one for each place.

    Returns (batch, channels * cell size, *places): the values of a cell are the channels of its
    place. A side that the places do not divide is resampled to the next multiple of them (adaptive
    average pooling). Without places the whole input is one cell: (batch, values).
    """
    if not places:
        return inputs.flatten(1)
    size, count = inputs.shape[2:], len(places)
    sides = [math.ceil(n / g) for n, g in zip(size, places, strict=True)]
    resized = [g * k for g, k in zip(places, sides, strict=True)]
    if resized != list(size):
        pool = functional.adaptive_avg_pool1d if count == 1 else functional.adaptive_avg_pool2d
        inputs = pool(inputs, resized)  # type: ignore[arg-type]
    cut = inputs.reshape(*inputs.shape[:2], *chain(*zip(places, sides, strict=True)))
    first, second = range(2, 2 + 2 * count, 2), range(3, 3 + 2 * count, 2)
    return cut.permute(0, 1, *second, *first).flatten(1, 1 + count)


def spread(features: Tensor, shape: torch.Size, kind: InputKind) -> Tensor:
    """Features (batch, channels) at each position of a tap's output of `shape` for one example.

    Returns (batch, positions, channels), or (batch, channels, *places) for convolutional taps, of
    which `to_rows` makes the rows that it makes of the tap; no memory is taken.
    """
    if len(shape) == 1:
        return features
    if len(shape) == 2 and kind != "signal":
        return features[:, None].expand(-1, shape[0], -1)
    ones = (1,) * len(shape[1:])
    return features.view(*features.shape, *ones).expand(-1, -1, *shape[1:])
