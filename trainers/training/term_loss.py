"""The distance of one term of guidance: of the target to one guide, over mapped taps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from trainers import controls, distances
from trainers.architectures.taps import to_rows
from trainers.conditions.guidance import Term
from trainers.controls import FeatureSource
from trainers.distances import GuideGrams, check_result
from trainers.errors import UserError
from trainers.guides.features import Features
from trainers.mappings import Pair
from trainers.tasks import Task, is_scored
from trainers.tasks.batches import Batch, mask_of

#: Guided steps without a gradient after which a distance counts as constant: networks whose last
#: layer is initialised with zeros have none in the first step.
_PATIENCE = 10


class NoEffectError(UserError):
    """Guidance that cannot change the target; the message says why."""


class TermLoss:
    """The distance of one term of a replicate's guidance, without its weight.

    For `pairs` that share a target tap, the target's part is computed once. A distance that learns
    is connected to the widths of each pair by `connect`, before the first call. It is called in one
    step of `every`. Calls raise NoEffectError if no gradient can reach the target, or none has in
    the first ones.
    """

    def __init__(
        self, term: Term, source: FeatureSource, pairs: Sequence[Pair], task: Task, every: int = 1
    ) -> None:
        self.source, self.rows, self.weight = source, term.rows, term.weight
        self._patience_end = _PATIENCE * every
        self._task, self._labelled = task, controls.of(term).shows_labels
        self.distance = distances.build(term.distance)
        self.target_taps = tuple(dict.fromkeys(pair.target for pair in pairs))
        by_target = [[pair for pair in pairs if pair.target == tap] for tap in self.target_taps]
        #: Pairs in the order of the distances that a call returns.
        self.pairs = [pair for group in by_target for pair in group]
        self._guides_of = [[pair.guide for pair in group] for group in by_target]
        weights = [pair.weight for pair in self.pairs]
        self._scale = 1.0 if term.reduction == "sum" else 1.0 / sum(weights)
        self._weights = None if set(weights) == {1.0} else torch.tensor(weights)
        #: Connected distances by pair; empty unless the distance learns.
        self.learned = nn.ModuleList()
        #: Number of calls without a gradient so far; None once there was one.
        self._without_gradient: int | None = 0

    @property
    def learns(self) -> bool:
        """Whether the distance has parameters of its own."""
        return self.distance.learns

    def connect(self, outputs: Mapping[str, Tensor], features: Mapping[str, Tensor]) -> None:
        """Create a learning distance for each pair, from outputs (batch, ...) of a few examples.

        `outputs` are by target tap, `features` by guide tap. Parameters are initialised from
        PyTorch's global generator.
        """
        kind = self._task.input.kind
        for pair in self.pairs:
            target = to_rows(outputs[pair.target], self.rows, kind)
            guide = to_rows(features[pair.guide], self.rows, kind)
            connected = self.distance.connect(target.shape[-1], guide.shape[-1])
            if not isinstance(connected, nn.Module):
                name = type(self.distance).__name__
                raise UserError(f"{name}.connect gives {connected!r:.40}, no nn.Module")
            self.learned.append(connected)
        self.learned.to(next(iter(outputs.values())).device)

    def __call__(
        self, outputs: Mapping[str, Tensor], batch: Batch, step: int
    ) -> tuple[Tensor, Tensor]:
        """The reduced distance (a scalar with gradient) and each pair's (num_pairs,), detached.

        `outputs` are the target's tap outputs (batch, ...) for the batch. Raises UserError if the
        distance changes features in place, NoEffectError as above.
        """
        features = self.source.features(batch, step)
        targets = [outputs[tap] for tap in self.target_taps]
        if self._labelled:
            targets, features, batch = _with_labels(targets, features, batch)
        mask = self._mask(batch)
        versions = [target._version for target in targets]
        each = self._distances(targets, features, mask)
        if versions != [target._version for target in targets]:
            raise UserError(
                f"distance {type(self.distance).__name__} changes features in place; they are "
                "the network's own activations: have it work on a copy (features.clone())"
            )
        # A run that goes on after these steps found one before it was interrupted.
        if self._without_gradient is not None and step < self._patience_end:
            self._look_for_gradient(targets, features, mask)
        if self._weights is not None:
            self._weights = self._weights.to(each.device)
        weighted = each if self._weights is None else each * self._weights
        total = weighted.sum()
        return total if self._scale == 1 else total * self._scale, each.detach()

    def _look_for_gradient(
        self, targets: Sequence[Tensor], features: Features, mask: Tensor | None
    ) -> None:
        """Raise NoEffectError if the distance cannot change the target.

        It is computed on copies, so that the step itself has the same bits.
        """
        for tap, target in zip(self.target_taps, targets, strict=True):
            if not target.requires_grad:
                raise NoEffectError(
                    f"guidance has no effect: no gradient reaches the target through tap {tap!r}, "
                    "whose output is detached, comes from frozen layers, or holds integers; leave "
                    "it out of taps"
                )
        with torch.enable_grad():
            leaves = [target.detach().clone().requires_grad_() for target in targets]
            total = self._distances(leaves, features, mask).sum()
        gradients: Sequence[Tensor | None] = [None]
        if total.requires_grad:
            gradients = torch.autograd.grad(total, leaves, allow_unused=True)
        if any(gradient is not None and gradient.any() for gradient in gradients):
            self._without_gradient = None
            return
        assert self._without_gradient is not None
        self._without_gradient += 1
        if not total.requires_grad or self._without_gradient == _PATIENCE:
            raise NoEffectError(
                f"guidance has no effect: distance {type(self.distance).__name__} is constant "
                f"({total.item():g} in all over {len(self.pairs)} pairs, gradient 0 in "
                f"{self._without_gradient} steps): the features of target or guide are all alike, "
                f"or batches have too few rows (it needs {self.distance.guiding_rows})"
            )

    def _distances(
        self, targets: Sequence[Tensor], features: Features, mask: Tensor | None
    ) -> Tensor:
        """Distances (num_pairs,) of all pairs, target by target."""
        if isinstance(features, GuideGrams):
            return self._to_grams(targets, features, mask)
        return self._to_features(targets, features, mask)

    def _mask(self, batch: Batch) -> Tensor | None:
        """Mask (batch, time) of the positions that count; None if all do."""
        if self.distance.of_logits:
            return is_scored(batch.labels) if self._task.output.per_position else None
        mask = mask_of(self._task, batch.inputs)
        by_position = self.rows in ("tokens", "positions") and self._task.output.per_position
        if not self._labelled or not by_position:
            return mask
        scored = is_scored(batch.labels)
        return scored if mask is None else mask & scored

    def _to_grams(
        self, targets: Sequence[Tensor], guides: GuideGrams, mask: Tensor | None
    ) -> Tensor:
        """Distances (num_pairs,) of all pairs, target by target, to Gram matrices of the guide.

        The rows of the guide were arranged, as by `to_rows`, when the matrices were made.
        """
        position = {tap: index for index, tap in enumerate(guides.taps)}
        guide_indices = [[position[tap] for tap in taps] for taps in self._guides_of]
        kind = self._task.input.kind
        rows = [to_rows(target, self.rows, kind, mask) for target in targets]
        return self.distance.to_grams(rows, guides, guide_indices)

    def _to_features(
        self, targets: Sequence[Tensor], features: Mapping[str, Tensor], mask: Tensor | None
    ) -> Tensor:
        """Distances (num_pairs,) of all pairs, target by target, to features of the guide."""
        # Taps may share a tensor (control `input`), which is prepared once.
        distinct = {id(output): output for output in features.values()}
        position = {key: index for index, key in enumerate(distinct)}
        guide_indices = [
            [position[id(features[tap])] for tap in guides] for guides in self._guides_of
        ]
        guides = list(distinct.values())
        if mask is not None and self.rows == "positions":
            return self._by_position(targets, guides, guide_indices, mask)
        kind = self._task.input.kind
        rows = [to_rows(target, self.rows, kind, mask) for target in targets]
        return self._of_rows(
            rows, [to_rows(o, self.rows, kind, mask) for o in guides], guide_indices
        )

    def _of_rows(
        self,
        targets: Sequence[Tensor],
        guides: Sequence[Tensor],
        guide_indices: Sequence[Sequence[int]],
    ) -> Tensor:
        """Distances (num_pairs,) of all pairs of features (n, p) and (n, q), target by target."""
        if not self.learned:
            return self.distance.all(targets, guides, guide_indices)
        pairs = [(targets[i], guides[j]) for i, row in enumerate(guide_indices) for j in row]
        each = [distance(*pair) for distance, pair in zip(self.learned, pairs, strict=True)]
        for distance, result in zip(self.learned, each, strict=True):
            check_result(distance, result, ())
        return torch.stack(each)

    def _by_position(
        self,
        targets: Sequence[Tensor],
        guides: Sequence[Tensor],
        guide_indices: Sequence[Sequence[int]],
        mask: Tensor,
    ) -> Tensor:
        """Mean distances (num_pairs,) over the positions that enough examples have.

        At each position the distance is over these examples. Raises UserError if there is none.
        """
        enough = mask.sum(0) >= self.distance.min_rows
        each = [
            self._of_rows(
                [target[mask[:, t], t] for target in targets],
                [guide[mask[:, t], t] for guide in guides],
                guide_indices,
            )
            for t in enough.nonzero()[:, 0].tolist()
        ]
        if not each:
            raise UserError(
                f"distances: rows: positions: no position has the {self.distance.min_rows} "
                "examples that the distance needs; use larger batches or rows: tokens"
            )
        return torch.stack(each).mean(0)


def _with_labels(
    targets: Sequence[Tensor], features: Features, batch: Batch
) -> tuple[list[Tensor], Features, Batch]:
    """Target outputs, features and batch of the examples that have a label."""
    assert not isinstance(features, GuideGrams)
    labelled = is_scored(batch.labels).reshape(len(batch.labels), -1).any(1)
    if bool(labelled.all()):
        return list(targets), features, batch
    # Taps that share a tensor still do.
    chosen = {id(output): output[labelled] for output in features.values()}
    part = Batch(batch.inputs[labelled], batch.labels[labelled], None, batch.number)
    return (
        [target[labelled] for target in targets],
        {tap: chosen[id(output)] for tap, output in features.items()},
        part,
    )
