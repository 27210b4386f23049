"""Centring of features over rows, with their scale and whether they vary beyond rounding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Spread below this many units of rounding, relative to the features' size, is not variance.
ROUNDING_UNITS = 32

#: Sums of squares in this range can be squared once more in float32 without loss.
_SAFE_TRACE = (1e-12, 1e16)


def rounding(dtype: torch.dtype) -> float:
    """Largest relative difference that counts as rounding; half types count as float32."""
    return ROUNDING_UNITS * torch.finfo(dtype if dtype == torch.float64 else torch.float32).eps


@dataclass(frozen=True)
class Centred:
    """Features (..., n, p) less their mean (..., 1, p) over rows; both times `scale`, if any."""

    features: Tensor
    mean: Tensor
    scale: Tensor | None = None

    @classmethod
    def of(cls, features: Tensor) -> Centred:
        """Centre features (..., n, p)."""
        mean = features.mean(-2, keepdim=True)
        return cls(features - mean, mean)

    def rescaled(self) -> Centred:
        """The same times a power of two (exact) that makes the largest entry about 1.

        Features below 2^-100 (in float32) become zero: their gradient would overflow.
        """
        largest = torch.maximum(
            self.features.abs().amax((-2, -1), keepdim=True),
            self.mean.abs().amax((-2, -1), keepdim=True),
        )
        smallest = torch.finfo(largest.dtype).tiny * 2**26
        exponent = torch.frexp(largest.clamp(min=smallest)).exponent.to(largest.dtype)
        scale = torch.ldexp((~(largest < smallest)).to(largest.dtype), -exponent)
        return Centred(self.features * scale, self.mean * scale, scale)

    def mean_part(self) -> Tensor:
        """Part (...) of the squared norm that centring removes: n times that of the mean."""
        squared: Tensor = torch.linalg.vecdot(self.mean, self.mean)[..., 0]
        return self.features.shape[-2] * squared


def centred_in_range(features: Tensor) -> tuple[Centred, Tensor]:
    """Centred features (..., n, p), and whether they are constant (...).

    Rescaled if their products would lose digits.
    """
    centred = Centred.of(features)
    trace, size = _sizes(centred)
    if needs_rescaling(trace, size):
        centred = centred.rescaled()
        trace, size = _sizes(centred)
    return centred, is_constant(trace, size)


@torch.no_grad()
def _sizes(centred: Centred) -> tuple[Tensor, Tensor]:
    """Squared norms (...) of the features after and before centring."""
    trace = centred.features.square().sum((-2, -1))
    return trace, trace + centred.mean_part()


def needs_rescaling(trace: Tensor, size: Tensor) -> bool:
    """Whether products of any of these features lose digits (rarely); synchronises with the GPU.

    `trace` (...) are traces of centred Gram matrices, `size` (...) squared norms of the features
    before centring.
    """
    low, high = _SAFE_TRACE
    least, most = torch.stack(torch.stack((trace, size)).aminmax()).tolist()
    if low < least and most < high:
        return False
    # Variance that is small relative to the mean needs no rescaling: it counts as zero.
    fine = (size > low) & (size < high) & ((trace > low) | is_constant(trace, size))
    return not bool(fine.all())


def unremarkable(trace: Tensor, size: Tensor) -> bool:
    """Whether a quick test shows that no features are constant and no products lose digits.

    Arguments as in `needs_rescaling`. If false, `needs_rescaling` and `is_constant` decide.
    """
    traces, sizes = torch.stack((trace, size)).tolist()
    low, high = _SAFE_TRACE
    least, most = min(traces), max(sizes)
    return bool(low < least and most < high and rounding(trace.dtype) ** 2 * most < least)


def is_constant(trace: Tensor, size: Tensor) -> Tensor:
    """Whether all rows are equal up to rounding (...); false for NaN, so that NaN propagates."""
    return trace <= rounding(trace.dtype) ** 2 * size
