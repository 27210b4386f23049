"""Features for tests of distances, and comparisons of their values and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainers import distances
from trainers.distances import DISTANCES, Distance
from trainers.registry import Component

#: Rows n, widths p and q of target and guide: tall, wide, mixed.
SHAPES = ((24, 6, 9), (24, 40, 30), (24, 6, 40))
_MOST_ROWS = 4096


@dataclass(frozen=True)
class Tried:
    """A distance, and the largest value that it may have at identity."""

    component: Component
    at_identity: float

    @property
    def info(self) -> dict[str, Any]:
        return dict(DISTANCES[self.component.name].info)

    @property
    def factory(self) -> type[Distance]:
        return DISTANCES[self.component.name].factory

    def make(self, p: int, q: int) -> Distance:
        """The distance for features of these widths; one that learns begins the same each time."""
        torch.manual_seed(0)
        return distances.build(self.component).connect(p, q)

    def features(self, n: int, p: int, q: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Target features (n, p) and guide features (n, q) with a shared part; q is p for logits.

        There are more than n rows where the distance refuses so few of these widths.
        """
        q = p if self.factory.of_logits else q
        n, parts = self.rows(n, p, q), torch.Generator().manual_seed(seed)
        shared = torch.randn(n, 5, generator=parts)
        target, guide = (
            shared @ torch.randn(5, width, generator=parts) + torch.randn(n, width, generator=parts)
            for width in (p, q)
        )
        return target, guide

    def rows(self, n: int, p: int, q: int) -> int:
        """`n`, or where that is too few, 3 rows more than the fewest that the distance takes."""
        made = self.make(p, q)
        for count in range(n, _MOST_ROWS):
            try:
                made.check_shapes(count, p, q)
                made.check_shapes(count, q, p)
            except ValueError:
                continue
            # With the fewest rows the fit is nearly perfect, and the gradient steep.
            return n if count == n else count + 3
        raise ValueError(f"it takes no features of widths {p} and {q}")

    def cases(self, *shapes: tuple[int, int, int]) -> Iterator[tuple[Distance, Tensor, Tensor]]:
        """The distance with features of each of `shapes` or SHAPES."""
        for shape in shapes or SHAPES:
            target, guide = self.features(*shape)
            yield self.make(target.shape[1], guide.shape[1]), target, guide


def value_and_gradient(
    distance: Distance, target: Tensor, guide: Any, *, autocast: bool = False
) -> tuple[Tensor, Tensor]:
    """A distance and its gradient by the target; `autocast` covers the forward pass."""
    target = target.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        value = distance(target, guide)
    (gradient,) = torch.autograd.grad(value, target)
    return value.detach(), gradient


def same(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> bool:
    return all(map(torch.equal, first, second))


def close(first: Tensor, second: Tensor, *, relative: float, absolute: float) -> bool:
    return torch.allclose(first, second, rtol=relative, atol=absolute)


def transformed(kind: str, features: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(9)
    width = features.shape[1]
    square = torch.randn(width, width, generator=generator)
    if kind == "rotation":
        orthogonal: Tensor = torch.linalg.qr(square).Q
        return features @ orthogonal
    if kind == "linear":
        return features @ (square + 4 * torch.eye(width))
    return 3.7 * features if kind == "scale" else features + 5 * square[0]


def constants(n: int, p: int) -> dict[str, Tensor]:
    row = torch.randn(1, p)
    return {
        "zeros": torch.zeros(n, p),
        "equal rows": row.expand(n, p),
        "large equal rows": 1e6 + row.expand(n, p),
        "rows equal up to rounding": 1 + 1e-7 * torch.randn(n, p),
    }
