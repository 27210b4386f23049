"""One-hot classes and tokens; large vocabularies are projected."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

#: Largest vocabulary whose one-hot tokens are not projected.
LARGE_VOCABULARY = 1024
#: Dimensions of projected tokens, and seed of the projection.
PROJECTED, PROJECTION_SEED = 512, 0


def one_hot(tokens: Tensor, vocabulary: int) -> Tensor:
    """One-hot tokens (..., vocabulary) of integers (...), in float32.

    If the vocabulary is above `LARGE_VOCABULARY`, they are projected to `PROJECTED` dimensions by
    fixed random signs, which preserves products up to errors of about 1 / sqrt(PROJECTED) (Johnson
    and Lindenstrauss; with signs, Achlioptas 2003).
    """
    if vocabulary > LARGE_VOCABULARY:
        return functional.embedding(tokens, _projection(vocabulary, tokens.device))
    return functional.one_hot(tokens, vocabulary).float()


def one_hot_width(vocabulary: int) -> int:
    """Number of features of `one_hot`."""
    return PROJECTED if vocabulary > LARGE_VOCABULARY else vocabulary


@lru_cache(maxsize=4)
def _projection(vocabulary: int, device: torch.device) -> Tensor:
    """Projected one-hot tokens (vocabulary, PROJECTED): random signs over sqrt(PROJECTED)."""
    # Not an inference tensor, even if first needed in inference mode: training uses it too.
    with torch.inference_mode(mode=False):
        generator = torch.Generator().manual_seed(PROJECTION_SEED)
        signs = torch.randint(2, (vocabulary, PROJECTED), generator=generator).mul_(2).sub_(1)
        return (signs / math.sqrt(PROJECTED)).to(device)
