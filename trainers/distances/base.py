"""Representational distances: differentiable dissimilarities of target and guide features.

`create(name, **options)` gives a callable `(target (n, p), guide (n, q)) -> scalar tensor`, 0 at
perfect agreement. One distance (or one family) is one file of this package.

Entries declare, as `register(name, invariances=..., cost=..., source=..., bias=...)`: the members
of `INVARIANCES` that leave the distance unchanged, on either side and with any options; the cost in
n, p and q; the paper it is from; and the bias of the estimate from few rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from trainers.distances._guide_grams import GuideGrams
from trainers.errors import UserError
from trainers.registry import Component, Registry

DISTANCES: Registry[type[Distance]]

#: Maps of features that a distance may be invariant to: an orthogonal map, one positive factor
#: for all features, one vector added to every row, any invertible linear map.
INVARIANCES = ("rotation", "scale", "mean", "linear")
#: What entries declare, those of measures too.
FACTS = ("invariances", "cost", "source", "bias")


class Distance(ABC):
    """Dissimilarity of `target` features (n, p) and `guide` features (n, q); rows are examples.

    A subclass needs only `forward`. It may also precompute what depends on the frozen guide
    (`precompute`), share work on one target between its guide taps (`forward_each`), and between
    all taps of a step (`forward_all`). These methods get float32 or float64 features, and autocast
    is off. If either side has no variance, a distance is 1 and its gradient 0.
    """

    #: Fewest rows for which the estimate is defined; with fewer, calls raise ValueError.
    min_rows: int = 2
    #: Fewest rows with which it depends on the features; with fewer it is constant, if it is
    #: defined, and cannot guide. Has an effect if above `min_rows`.
    min_guiding_rows: int = 1
    #: Whether it compares the networks' answers (n, num_outputs) instead of tap outputs.
    of_logits: bool = False
    #: Whether it takes tasks of classes alone, because it makes probabilities of answers.
    needs_classes: bool = False
    #: Whether it has parameters, which are trained with the target's.
    learns: bool = False
    #: Whether it takes `GuideGrams` in place of guide features (`to_grams`).
    takes_grams: bool = False

    @property
    def guiding_rows(self) -> int:
        """Fewest rows with which it can guide."""
        return max(self.min_rows, self.min_guiding_rows)

    def connect(self, p: int, q: int) -> Distance:  # noqa: ARG002
        """The distance for target features (n, p) and guide features (n, q).

        Returns the distance itself unless it learns. A distance that learns returns a new
        `nn.Module` for each pair of taps, initialised from PyTorch's global generator.
        """
        return self

    def check_shapes(self, n: int, p: int, q: int) -> None:  # noqa: ARG002
        """Raise ValueError if the distance is not defined for features (n, p) and (n, q)."""
        if n < self.min_rows:
            raise ValueError(
                f"{type(self).__name__} needs n >= {self.min_rows} rows, got n = {n}: use larger "
                "batches"
            )

    @abstractmethod
    def forward(self, target: Tensor, guide: Any) -> Tensor:
        """Distances (...) of `target` (..., n, p) to a precomputed guide; finite gradients."""

    def forward_each(self, target: Tensor, guides: Sequence[Any]) -> Tensor:
        """Distances (m, ...) of one target (..., n, p) to m prepared guides (..., n, q).

        Each call of `forward` gets copies of the features, and may change them in place.
        """
        each = [self.forward(target.clone(), _copied(guide)) for guide in guides]
        for distance in each:
            check_result(self, distance, target.shape[:-2])
        return torch.stack(each)

    def forward_all(
        self,
        targets: Sequence[Tensor],
        guides: Sequence[Any],
        guide_indices: Sequence[Sequence[int]],
    ) -> list[Tensor]:
        """Distances (m, ...) of each target (..., n, p) to its m guides (..., n, q).

        `guide_indices[i]` are the indices of target i's guides.
        """
        with constants():
            prepared = [self.precompute(guide) for guide in guides]
        return [
            self.forward_each(target, [prepared[index] for index in indices])
            for target, indices in zip(targets, guide_indices, strict=True)
        ]

    def forward_grams(
        self, targets: Sequence[Tensor], guides: GuideGrams, guide_indices: Sequence[Sequence[int]]
    ) -> Tensor:
        """Distances (num_pairs,) of each target (n, p) to its guide taps, target by target.

        Only for distances with `takes_grams`; others raise NotImplementedError.
        """
        raise NotImplementedError(f"{type(self).__name__} needs the guide's features")

    def precompute(self, guide: Tensor) -> Any:
        """The form of `guide` (..., n, q) that `forward` takes; by default the features."""
        return guide.clone() if guide.is_inference() else guide

    def prepare(self, guide: Tensor) -> Any:
        """Precompute everything that depends on `guide` (..., n, q) alone, to be passed instead.

        The guide is a constant: no gradient reaches it. It may be an inference tensor. Raises
        ValueError if it has too few rows.
        """
        self.check_features(guide)
        with full_precision(guide.device), constants():
            return self.precompute(_working(guide.detach()))

    def __call__(self, target: Tensor, guide: Any) -> Tensor:
        """Distance of `target` (n, p) as a scalar; `guide` is (n, q) or returned by `prepare`.

        Raises ValueError if there are too few rows, or not as many in the guide.
        """
        if isinstance(guide, Tensor):
            check_same_rows(target.shape, guide.shape)
            guide = self.prepare(guide)
        return self.each(target, [guide])[0]

    def each(self, target: Tensor, guides: Sequence[Any]) -> Tensor:
        """Distances of one target (..., n, p) to m prepared guides (..., n, q).

        Returns (m,): the mean over the leading dimensions, if any. Raises ValueError if there are
        too few rows.
        """
        self.check_features(target)
        with full_precision(target.device):
            return self._averaged(self.forward_each(_working(target), guides), target, guides)

    def all(
        self,
        targets: Sequence[Tensor],
        guides: Sequence[Tensor],
        guide_indices: Sequence[Sequence[int]],
    ) -> Tensor:
        """Distances of several targets (..., n, p) to their guides (..., n, q).

        `guide_indices[i]` are the indices of target i's guides. Returns (num_pairs,), target by
        target, equal to those of `each` up to rounding. Raises ValueError if there are too few
        rows, or not as many in a guide as in its target.
        """
        for features in (*targets, *guides):
            self.check_features(features)
        for target, indices in zip(targets, guide_indices, strict=True):
            for index in indices:
                check_same_rows(target.shape, guides[index].shape)
        with full_precision(targets[0].device):
            working = [_working(target) for target in targets]
            outputs = [_working(guide.detach()) for guide in guides]
            distances = self.forward_all(working, outputs, guide_indices)
        each = zip(distances, targets, guide_indices, strict=True)
        return torch.cat([self._averaged(*arguments) for arguments in each])

    def to_grams(
        self, targets: Sequence[Tensor], guides: GuideGrams, guide_indices: Sequence[Sequence[int]]
    ) -> Tensor:
        """Distances (num_pairs,) of targets (n, p) to a guide that is given by Gram matrices.

        Only for distances with `takes_grams`. Arguments and errors as in `all`.
        """
        for target in targets:
            self.check_features(target)
            check_same_rows(target.shape, guides.grams.shape[1:])
        with full_precision(targets[0].device):
            return self.forward_grams(
                [_working(target) for target in targets], guides, guide_indices
            )

    def _averaged(self, distances: Any, target: Tensor, guides: Sequence[Any]) -> Tensor:
        """Distances (m, ...) averaged over the leading dimensions of the features, if any: (m,)."""
        check_result(self, distances, (len(guides), *target.shape[:-2]))
        averaged: Tensor = distances if distances.dim() == 1 else distances.flatten(1).mean(1)
        return averaged

    def check_features(self, features: Tensor) -> None:
        """Raise ValueError unless features (..., n, p) have enough rows for the distance."""
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


def check_result(distance: object, result: Any, shape: Sequence[int]) -> None:
    """Raise UserError unless what a distance has given is a tensor of this shape."""
    if isinstance(result, Tensor) and result.shape == shape:
        return
    given = f"shape {tuple(result.shape)}" if isinstance(result, Tensor) else f"{result!r:.40}"
    raise UserError(
        f"{type(distance).__name__} gives {given}; it must give a tensor of shape {tuple(shape)}: "
        "one number for a pair of features (n, p) and (n, q)"
    )


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Context without autocast, which would multiply float32 matrices in half precision."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


@contextmanager
def constants() -> Iterator[None]:
    """Context without gradients whose results may be used in later training.

    Tensors from `torch.inference_mode` may not: autograd refuses to save them.
    """
    with torch.inference_mode(False), torch.no_grad():
        yield


def _copied(guide: Any) -> Any:
    return guide.clone() if isinstance(guide, Tensor) else guide


def _working(features: Tensor) -> Tensor:
    """Features in float32, or in float64 if they are: Gram matrices of half types lose digits."""
    return features if features.dtype == torch.float64 else features.to(torch.float32)


#: The registered distances.
DISTANCES = Registry("distance", "trainers.distances", default="linear_cka", facts=FACTS)
register = DISTANCES.register


def create(name: str, **options: Any) -> Distance:
    """The distance registered as `name`; raises UserError for unknown names and options."""
    return build(DISTANCES.component(name, **options))


def build(component: Component) -> Distance:
    """The distance that a component describes; raises UserError if there is none of its name."""
    distance: Distance = DISTANCES.make(component)
    return distance


def of_logits(name: str) -> bool:
    """Whether the distance `name` compares the networks' answers instead of features of taps."""
    return DISTANCES[name].factory.of_logits
