"""Distances between profiles: unit vectors over all pairs of rows, one for each side."""

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
        """Whether the features have no variance, so that the profile is zero."""
        return not bool(self.profile.any())


class ProfileDistance(SymmetricDistance):
    """1 - the inner product of both sides' profiles; each profile is computed once per step."""

    @abstractmethod
    def profile(self, features: Tensor, noise: float = 0.0) -> Tensor:
        """Profile (..., m) of norm 1 of features (..., n, p), or zero without variance.

        `noise` as in `SymmetricDistance.side`.
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

        Raises ValueError if a guide has another number of rows than the target.
        """
        for guide in guides:
            check_same_rows(target.shape, guide.shape)
        profile = self.profile(target)
        return 1 - torch.stack(
            [torch.linalg.vecdot(profile, guide.profile.to(profile.dtype)) for guide in guides]
        )


def unit(vectors: Tensor, empty: Tensor) -> Tensor:
    """Vectors (..., m) over their norms; zero, with gradient zero, where `empty` (...)."""
    norms = torch.linalg.vector_norm(vectors, dim=-1).masked_fill(empty, torch.inf)
    result: Tensor = vectors * norms.reciprocal().unsqueeze(-1)
    return result


@torch.no_grad()
def vanishes(projected: Tensor, before: Tensor, noise: float = 0.0) -> Tensor:
    """Whether projected vectors (..., m) are zero up to rounding or `noise` (...).

    `before` (..., m) are the vectors before the projection.
    """
    norm: Tensor = torch.linalg.vector_norm(projected, dim=-1)
    relative = max(noise, rounding(norm.dtype))
    vanishing: Tensor = norm <= relative * torch.linalg.vector_norm(before, dim=-1)
    return vanishing
