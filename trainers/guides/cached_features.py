"""Caches of a frozen guide on all training examples: features, or Gram matrices.

A batch's block of the Gram matrix over all examples, centred, is the batch's centred Gram matrix.
It gives the same distance without features and their products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from trainers.architectures.taps import Rows, to_rows
from trainers.conditions.cache_form import Cache
from trainers.distances import GuideGrams
from trainers.guides.features import Cached, Features
from trainers.guides.frozen import FrozenGuide

#: Allocates an array to be filled: (name, shape, dtype) -> tensor, in memory or mapped from a file.
Allocate = Callable[[str, Sequence[int], torch.dtype], Tensor]
Arrays = Mapping[str, Tensor]

#: Most features held at a time while Gram matrices are made; more taps take several passes.
WORKING_BYTES = 2**31
#: Rows of a Gram matrix made at a time; fixed, because it decides the last bits.
_GRAM_ROWS = 1000
_HALF = torch.float16


class DefaultCache:
    """Features of `FrozenGuide.train_features`, kept in memory for a spec without a cache."""

    def __init__(self, guide: FrozenGuide) -> None:
        self._guide = guide

    def batch(self, examples: Tensor) -> Features | None:
        """Features (batch, ...) of training examples by tap; None if they are not kept."""
        outputs = self._guide.train_features
        return None if outputs is None else {tap: o[examples] for tap, o in outputs.items()}


class CachedFeatures:
    """Cached features of every tap by example."""

    def __init__(self, arrays: Arrays, taps: Sequence[str]) -> None:
        self._taps, self._arrays = taps, arrays

    def batch(self, examples: Tensor) -> Features:
        """Features (batch, ...) of training examples by tap, in float32."""
        return {tap: self._tap(f"{index}", examples) for index, tap in enumerate(self._taps)}

    def _tap(self, name: str, examples: Tensor) -> Tensor:
        chosen = self._arrays[name][examples]
        if chosen.dtype != _HALF:
            return chosen
        return chosen.float().mul_(self._arrays[f"{name}.scale"]).add_(self._arrays[f"{name}.mean"])


class CachedGrams:
    """Gram matrices (N, N, taps) over all examples, and squared norms (taps, N) of the features.

    All taps of a pair of examples are adjacent in memory: a batch's entries are scattered, and each
    one that is read costs a memory access (or a page, if read from disk).
    """

    def __init__(self, arrays: Arrays, taps: Sequence[str]) -> None:
        self._taps, self._grams, self._sizes = taps, arrays["grams"], arrays["sizes"]

    def batch(self, examples: Tensor) -> GuideGrams:
        """Gram matrices (taps, batch, batch) of training examples."""
        examples = examples.to(self._grams.device)
        n, num_train = len(examples), len(self._grams)
        first, second, square = _triangle(n, examples.device)
        left, right = examples.index_select(0, first), examples.index_select(0, second)
        # The matrices are symmetric: reading the upper triangle alone halves the accesses.
        indices = torch.minimum(left, right).mul_(num_train).add_(torch.maximum(left, right))
        pairs = self._grams.flatten(0, 1).index_select(0, indices).float()
        block = pairs.index_select(0, square).T.view(-1, n, n)
        return GuideGrams(self._taps, block, self._sizes.index_select(1, examples).sum(1))


@lru_cache(maxsize=16)
def _triangle(n: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Unordered pairs of n examples: the first of each, the second, and a pair's index (n * n,).

    The last is the index of the pair at each entry of a flattened n x n matrix.
    """
    with torch.inference_mode(False):
        first, second = torch.triu_indices(n, n, device=device)
        square = torch.empty(n, n, dtype=torch.long, device=device)
        square[first, second] = square[second, first] = torch.arange(len(first), device=device)
        return first, second, square.flatten()


def opened(cache: Cache, arrays: Arrays, taps: Sequence[str]) -> Cached:
    """The cache whose arrays `fill` has filled."""
    return CachedGrams(arrays, taps) if cache.form == "gram" else CachedFeatures(arrays, taps)


@torch.inference_mode()
def fill(
    guide: FrozenGuide, inputs: Tensor, mask: Tensor | None, rows: Rows, cache: Cache,
    allocate: Allocate,
) -> None:  # fmt: skip
    """Fill the arrays of a cache from a guide's features of inputs (N, *shape).

    `mask` (N, time) and `rows` as in `to_rows`; only Gram matrices depend on them.
    """
    dtype = torch.float32 if cache.dtype == "float32" else _HALF
    if cache.form == "features":
        _fill_features(guide, inputs, dtype, allocate)
        return
    shape = (len(inputs), len(inputs), len(guide.taps))
    grams, sizes = allocate("grams", shape, dtype), allocate("sizes", shape[:0:-1], torch.float32)
    kind = guide.task.input.kind
    mask = None if mask is None else mask.to(guide.device)
    for index, features in _by_tap(guide, inputs):
        fill_gram(to_rows(features, rows, kind, mask), grams[..., index], sizes[index])


def _fill_features(
    guide: FrozenGuide, inputs: Tensor, dtype: torch.dtype, allocate: Allocate
) -> None:
    if dtype != _HALF:
        shapes = guide.output_shapes
        arrays = {
            tap: allocate(f"{i}", (len(inputs), *shapes[tap]), dtype)
            for i, tap in enumerate(guide.taps)
        }
        for place, outputs in _forward(guide, inputs):
            for tap, output in outputs.items():
                arrays[tap][place] = output
        return
    for index, features in _by_tap(guide, inputs):
        # Distances depend on differences from the mean, which a half type keeps only if the mean
        # is taken off first. A power of two brings them into the type's range.
        mean = features.double().mean(0).float()
        centred = features - mean
        largest = centred.abs().amax()
        scale = torch.ldexp(torch.ones_like(largest), torch.frexp(largest).exponent)
        allocate(f"{index}", features.shape, dtype).copy_(centred / scale)
        allocate(f"{index}.mean", mean.shape, torch.float32).copy_(mean)
        allocate(f"{index}.scale", (), torch.float32).copy_(scale)


def fill_gram(features: Tensor, gram: Tensor, sizes: Tensor) -> None:
    """Fill `gram` (N, N) from features (N, q) less their mean, and `sizes` (N,) with squared norms.

    The unit is a power of two that makes the largest centred feature about 1, so that products are
    in the range of float32 at any scale; for a half type it bounds the largest product instead.
    """
    centred = features - features.double().mean(0).float()
    centred -= centred.mean(0)
    largest = centred.abs().amax()
    exponent = torch.frexp(largest).exponent
    if gram.dtype == _HALF:
        exponent = exponent + (features.shape[1].bit_length() + 1) // 2
    unit = torch.ldexp(torch.ones_like(largest), -exponent.clamp(-120, 120))
    centred *= unit
    sizes.copy_(torch.linalg.vector_norm(features * unit, dim=1).square())
    for start in range(0, len(centred), _GRAM_ROWS):
        place = slice(start, start + _GRAM_ROWS)
        gram[place] = centred[place] @ centred.T


def _by_tap(guide: FrozenGuide, inputs: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Index and outputs (N, ...) of each tap; within `WORKING_BYTES`, several taps per pass."""
    sizes = [4 * len(inputs) * shape.numel() for shape in guide.output_shapes.values()]
    start = 0
    while start < len(sizes):
        end = start + 1
        while end < len(sizes) and sum(sizes[start : end + 1]) <= WORKING_BYTES:
            end += 1
        names = guide.taps[start:end]
        shapes, device = guide.output_shapes, guide.device
        held = {tap: torch.empty(len(inputs), *shapes[tap], device=device) for tap in names}
        for place, outputs in _forward(guide, inputs):
            for tap in names:
                held[tap][place] = outputs[tap]
        for index, tap in enumerate(names, start):
            yield index, held.pop(tap)
        start = end


def _forward(guide: FrozenGuide, inputs: Tensor) -> Iterator[tuple[slice, Mapping[str, Tensor]]]:
    """Outputs of all taps for successive slices of the inputs, with the slices."""
    size = guide.task.forward_batch
    for start in range(0, len(inputs), size):
        place = slice(start, start + size)
        yield place, guide.forward(inputs[place])
