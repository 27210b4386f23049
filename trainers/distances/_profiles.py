"""Distances that compare what each side says of all pairs of rows, as two unit vectors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.distances import Distance, check_same_rows
from trainers.distances._centring import rounding


@dataclass(frozen=True)
class PreparedProfile:
    """The profile (..., m) of guide features of `shape` (..., n, q)."""

    shape: torch.Size
    profile: Tensor


class ProfileDistance(Distance):
    """1 - the inner product of both sides' profiles; each is worked out once a step."""

    @abstractmethod
    def profile(self, features: Tensor) -> Tensor:
        """A vector (..., m) of norm 1 for features (..., n, p), or zero without variance."""

    def precompute(self, guide: Tensor) -> PreparedProfile:
        """The guide's profile."""
        return PreparedProfile(guide.shape, self.profile(guide))

    def forward(self, target: Tensor, guide: PreparedProfile) -> Tensor:
        """Distances (...) of `target` (..., n, p) to one prepared guide."""
        return self.forward_each(target, [guide])[0]

    def forward_each(self, target: Tensor, guides: Sequence[PreparedProfile]) -> Tensor:
        """Distances (m, ...) of `target` (..., n, p) to m prepared guides.

        Raises ValueError when a guide has other rows than the target.
        """
        for guide in guides:
            check_same_rows(target.shape, guide.shape)
        own = self.profile(target)
        return 1 - torch.stack(
            [torch.linalg.vecdot(own, guide.profile.to(own.dtype)) for guide in guides]
        )


def unit(vectors: Tensor, empty: Tensor) -> Tensor:
    """Vectors (..., m) over their norms; zero, as is their gradient, where `empty` (...)."""
    norms = torch.linalg.vector_norm(vectors, dim=-1).masked_fill(empty, torch.inf)
    result: Tensor = vectors * norms.reciprocal().unsqueeze(-1)
    return result


@torch.no_grad()
def vanishes(projected: Tensor, before: Tensor) -> Tensor:
    """Whether nothing but rounding (...) is left of vectors (..., m) that were projected."""
    left: Tensor = torch.linalg.vector_norm(projected, dim=-1)
    nothing: Tensor = left <= rounding(left.dtype) * torch.linalg.vector_norm(before, dim=-1)
    return nothing
