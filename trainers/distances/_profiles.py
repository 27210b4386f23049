"""Distances that compare what each side says of all pairs of rows, as two unit vectors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.distances import check_same_rows
from trainers.distances._centring import rounding
from trainers.distances._symmetric import SymmetricDistance


@dataclass(frozen=True)
class PreparedProfile:
    """The profile (..., m) of features of `shape` (..., n, p)."""

    shape: torch.Size
    profile: Tensor

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to compare."""
        return not bool(self.profile.any())


class ProfileDistance(SymmetricDistance):
    """1 - the inner product of both sides' profiles; each is worked out once a step."""

    @abstractmethod
    def profile(self, features: Tensor, noise: float = 0.0) -> Tensor:
        """A vector (..., m) of norm 1 for features (..., n, p), or zero without variance.

        `noise` as of `side`.
        """

    def side(self, features: Tensor, noise: float = 0.0) -> PreparedProfile:
        """The profile of one side."""
        return PreparedProfile(features.shape, self.profile(features, noise))

    def between(self, target: PreparedProfile, guide: PreparedProfile) -> Tensor:
        """Distance (...) of two profiles."""
        similarity: Tensor = torch.linalg.vecdot(target.profile, guide.profile)
        return 1 - similarity

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
def vanishes(projected: Tensor, before: Tensor, noise: float = 0.0) -> Tensor:
    """Whether nothing but rounding (...), or `noise`, is left of projected vectors (..., m)."""
    left: Tensor = torch.linalg.vector_norm(projected, dim=-1)
    least = max(noise, rounding(left.dtype))
    nothing: Tensor = left <= least * torch.linalg.vector_norm(before, dim=-1)
    return nothing
