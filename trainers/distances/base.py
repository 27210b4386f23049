"""Representational distances: differentiable dissimilarities of target and guide features.

`create(name, **options)` gives a callable `(target (n, p), guide (n, q)) -> scalar tensor`, 0 at
perfect agreement. One distance (or one family) is one file of this package.

Entries declare, as `register(name, invariances=..., cost=..., source=..., bias=...)`: the maps of
either side's features that leave the distance as it is whatever the options, of `INVARIANCES`; the
cost in n, p and q; the paper it is from; and what few rows do to the estimate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from trainers.distances._guide_grams import GuideGrams
from trainers.registry import Component, Registry

DISTANCES: Registry[type[Distance]]

#: Maps of features that a distance may be invariant to: an orthogonal map, one positive factor
#: for all features, one vector added to every row, any invertible linear map.
INVARIANCES = ("rotation", "scale", "mean", "linear")


class Distance(ABC):
    """Dissimilarity of `target` features (n, p) and `guide` features (n, q); rows are examples.

    A subclass needs `forward` alone. It may also precompute what depends on the frozen guide
    (`precompute`), share work on one target between the guide taps that meet it (`forward_each`),
    and between all taps of a step (`forward_all`). What it is given is float32 or float64, and
    autocast is off. Without any variance on either side a distance is 1 and its gradient 0.
    """

    #: Fewest rows the estimate is defined for; with fewer, calls raise ValueError.
    min_rows: int = 2
    #: Fewest rows at which it depends on the features: with fewer it is a constant, if it is
    #: defined, and guides nothing. Counts where it is above `min_rows`.
    min_guiding_rows: int = 1
    #: Whether it compares the networks' answers (n, classes) instead of features of taps.
    of_logits: bool = False
    #: Whether it has parameters, which are trained with the target's.
    learns: bool = False
    #: Whether it can do with `GuideGrams` in place of guide features (`to_grams`).
    takes_grams: bool = False

    @property
    def guiding_rows(self) -> int:
        """Fewest rows with which it can guide."""
        return max(self.min_rows, self.min_guiding_rows)

    def connect(self, p: int, q: int) -> Distance:  # noqa: ARG002
        """The distance for target features (n, p) and guide features (n, q).

        It is this one, unless it learns: then it is an `nn.Module`, made anew for every pair of
        taps, whose parameters come from PyTorch's global generator.
        """
        return self

    def check_shapes(self, n: int, p: int, q: int) -> None:  # noqa: ARG002
        """Raise ValueError where the distance is not defined for n rows of p and of q features."""
        if n < self.min_rows:
            raise ValueError(
                f"{type(self).__name__} needs n >= {self.min_rows} rows, got n = {n}: use larger "
                "batches"
            )

    @abstractmethod
    def forward(self, target: Tensor, guide: Any) -> Tensor:
        """Distances (...) of `target` (..., n, p) to a prepared guide, with finite gradients."""

    def forward_each(self, target: Tensor, guides: Sequence[Any]) -> Tensor:
        """Distances (m, ...) of one target (..., n, p) to m prepared guides (..., n, q).

        Each call of `forward` gets features of its own: it may work in place on them.
        """
        return torch.stack([self.forward(target.clone(), _own(guide)) for guide in guides])

    def forward_all(
        self,
        targets: Sequence[Tensor],
        guides: Sequence[Any],
        guide_indices: Sequence[Sequence[int]],
    ) -> list[Tensor]:
        """Distances (m, ...) of each target (..., n, p) to its m guides (..., n, q)."""
        with constants():
            prepared = [self.precompute(guide) for guide in guides]
        return [
            self.forward_each(target, [prepared[index] for index in indices])
            for target, indices in zip(targets, guide_indices, strict=True)
        ]

    def forward_grams(
        self, targets: Sequence[Tensor], guides: GuideGrams, guide_indices: Sequence[Sequence[int]]
    ) -> Tensor:
        """Distances (num_pairs,) of each target (n, p) to the guide taps it is mapped to.

        Of distances that `takes_grams`.
        """
        raise NotImplementedError(f"{type(self).__name__} needs the guide's features")

    def precompute(self, guide: Tensor) -> Any:
        """What `forward` needs of `guide` (..., n, q); by default the features."""
        return guide.clone() if guide.is_inference() else guide

    def prepare(self, guide: Tensor) -> Any:
        """What depends on `guide` (..., n, q) alone, to be passed in its place.

        The guide is a constant: no gradient reaches it. It may be an inference tensor. Raises
        ValueError when it has too few rows.
        """
        self._check(guide)
        with full_precision(guide.device), constants():
            return self.precompute(_working(guide.detach()))

    def __call__(self, target: Tensor, guide: Any) -> Tensor:
        """The distance as a scalar tensor; `guide` is (n, q) or what `prepare` returned.

        Raises ValueError when there are too few rows or not as many in the guide.
        """
        if isinstance(guide, Tensor):
            check_same_rows(target.shape, guide.shape)
            guide = self.prepare(guide)
        return self.each(target, [guide])[0]

    def each(self, target: Tensor, guides: Sequence[Any]) -> Tensor:
        """Distances of one target (..., n, p) to m prepared guides (..., n, q).

        Returns (m,): the mean over the leading dimensions, if any. Raises ValueError when there
        are too few rows.
        """
        self._check(target)
        with full_precision(target.device):
            return _averaged(self.forward_each(_working(target), guides))

    def all(
        self,
        targets: Sequence[Tensor],
        guides: Sequence[Tensor],
        guide_indices: Sequence[Sequence[int]],
    ) -> Tensor:
        """Distances of several targets (..., n, p) to their guides (..., n, q).

        `guide_indices[i]` are the indices of target i's guides. Returns (num_pairs,), target by
        target: what `each` gives for prepared guides, up to rounding. Raises ValueError when there
        are too few rows, or not as many in a guide as in its target.
        """
        for features in (*targets, *guides):
            self._check(features)
        for target, indices in zip(targets, guide_indices, strict=True):
            for index in indices:
                check_same_rows(target.shape, guides[index].shape)
        with full_precision(targets[0].device):
            working = [_working(target) for target in targets]
            outputs = [_working(guide.detach()) for guide in guides]
            distances = self.forward_all(working, outputs, guide_indices)
        return torch.cat([_averaged(each) for each in distances])

    def to_grams(
        self, targets: Sequence[Tensor], guides: GuideGrams, guide_indices: Sequence[Sequence[int]]
    ) -> Tensor:
        """The same of targets (n, p) and a guide that is given by the Gram matrices of its taps.

        Of distances that `takes_grams`. Raises ValueError as `all`.
        """
        for target in targets:
            self._check(target)
            check_same_rows(target.shape, guides.grams.shape[1:])
        with full_precision(targets[0].device):
            return self.forward_grams(
                [_working(target) for target in targets], guides, guide_indices
            )

    def _check(self, features: Tensor) -> None:
        if features.dim() < 2:
            raise ValueError(f"features are (rows, features), not {tuple(features.shape)}")
        n, width = features.shape[-2:]
        Distance.check_shapes(self, n, width, width)


def check_same_rows(target: torch.Size, guide: torch.Size) -> None:
    """Raise ValueError unless features of shape (..., n, p) and (..., n, q) have the same rows."""
    if target[:-1] != guide[:-1]:
        raise ValueError(
            "target and guide must have the same rows, got features of shape "
            f"{tuple(target)} and {tuple(guide)}"
        )


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Autocast off: it would do matrix products of float32 features in half precision."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


@contextmanager
def constants() -> Iterator[None]:
    """No gradients are recorded, and the results may take part in later training.

    What is computed under `torch.inference_mode` may not: autograd refuses to save it.
    """
    with torch.inference_mode(False), torch.no_grad():
        yield


def _own(guide: Any) -> Any:
    return guide.clone() if isinstance(guide, Tensor) else guide


def _averaged(distances: Tensor) -> Tensor:
    """Distances (m, ...) averaged over the leading dimensions of the features, if any: (m,)."""
    return distances if distances.dim() == 1 else distances.flatten(1).mean(1)


def _working(features: Tensor) -> Tensor:
    """Float64 as it is, all else as float32: Grams of half types overflow or lose digits."""
    return features if features.dtype == torch.float64 else features.to(torch.float32)


DISTANCES = Registry("distance", "trainers.distances")
register = DISTANCES.register


def create(name: str, **options: Any) -> Distance:
    """The distance registered as `name`; unknown names and options raise ValueError."""
    return build(DISTANCES.component(name, **options))


def build(component: Component) -> Distance:
    """The distance that a component describes."""
    distance: Distance = DISTANCES.make(component)
    return distance


def of_logits(name: str) -> bool:
    """Whether the distance `name` compares the networks' answers instead of features of taps."""
    return DISTANCES[name].factory.of_logits
