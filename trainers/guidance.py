"""Guidance: the alignment term that a frozen guide adds to the task loss.

    loss = task loss + alpha * sum over mapped pairs of distance(target tap, guide tap)

(Subramaniam et al., "Training the Untrainable", arXiv 2410.20035.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from trainers import distances
from trainers.batches import Batch
from trainers.condition import Guidance
from trainers.controls import FeatureSource
from trainers.distances import GuideGrams
from trainers.mapping import Pair
from trainers.taps import to_rows
from trainers.tasks import IGNORE, Task


class GuidedLoss:
    """The alignment term of one replicate.

    Of `pairs` that share a target tap the target's part is computed once. A distance that learns
    is connected to the widths of each pair by `connect`, before the first call.
    """

    def __init__(
        self, guidance: Guidance, source: FeatureSource, pairs: Sequence[Pair], task: Task
    ) -> None:
        self.source, self.schedule, self.rows = source, guidance.schedule, guidance.rows
        self._task = task
        self._distance = distances.build(guidance.distance)
        self.target_taps = tuple(dict.fromkeys(pair.target for pair in pairs))
        by_target = [[pair for pair in pairs if pair.target == tap] for tap in self.target_taps]
        #: Pairs in the order of the distances that a call returns.
        self.pairs = [pair for own in by_target for pair in own]
        self._guides_of = [[pair.guide for pair in own] for own in by_target]
        weights = [pair.weight for pair in self.pairs]
        self._scale = 1.0 if guidance.reduction == "sum" else 1.0 / sum(weights)
        self._weights = None if set(weights) == {1.0} else torch.tensor(weights)
        #: What learns, by pair; empty unless the distance does.
        self.learned = nn.ModuleList()

    @property
    def learns(self) -> bool:
        """Whether the distance has parameters of its own."""
        return self._distance.learns

    def connect(self, outputs: Mapping[str, Tensor], features: Mapping[str, Tensor]) -> None:
        """Fit a distance that learns to the taps, from outputs (batch, ...) of a few examples.

        Its parameters come from PyTorch's global generator.
        """
        kind = self._task.input.kind
        for pair in self.pairs:
            target = to_rows(outputs[pair.target], self.rows, kind)
            guide = to_rows(features[pair.guide], self.rows, kind)
            connected = self._distance.connect(target.shape[-1], guide.shape[-1])
            assert isinstance(connected, nn.Module)
            self.learned.append(connected)
        self.learned.to(next(iter(outputs.values())).device)

    def __call__(
        self, outputs: Mapping[str, Tensor], batch: Batch, step: int
    ) -> tuple[Tensor, Tensor]:
        """The reduced distance (a scalar with gradient) and each pair's (num_pairs,), detached.

        `outputs` are the target's tap outputs (batch, ...) for the batch.
        """
        features = self.source.features(batch, step)
        targets = [outputs[tap] for tap in self.target_taps]
        mask = self._mask(batch)
        if isinstance(features, GuideGrams):
            each = self._to_grams(targets, features, mask)
        else:
            each = self._to_features(targets, features, mask)
        if self._weights is not None:
            self._weights = self._weights.to(each.device)
        weighted = each if self._weights is None else each * self._weights
        total = weighted.sum()
        return total if self._scale == 1 else total * self._scale, each.detach()

    def _mask(self, batch: Batch) -> Tensor | None:
        """Which positions (batch, time) count; None where all do."""
        if self._distance.of_logits:
            return batch.labels != IGNORE if self._task.output.per_position else None
        return self._task.mask(batch.inputs)

    def _to_grams(
        self, targets: Sequence[Tensor], guides: GuideGrams, mask: Tensor | None
    ) -> Tensor:
        """The distance of every pair (num_pairs,), target by target.

        The matrices are of rows that were arranged when they were made.
        """
        position = {tap: index for index, tap in enumerate(guides.taps)}
        meets = [[position[tap] for tap in own] for own in self._guides_of]
        kind = self._task.input.kind
        rows = [to_rows(target, self.rows, kind, mask) for target in targets]
        return self._distance.to_grams(rows, guides, meets)

    def _to_features(
        self, targets: Sequence[Tensor], features: Mapping[str, Tensor], mask: Tensor | None
    ) -> Tensor:
        """The distance of every pair (num_pairs,), target by target."""
        # Taps may show the same tensor (control `input`): it is prepared once.
        distinct = {id(output): output for output in features.values()}
        position = {key: index for index, key in enumerate(distinct)}
        meets = [[position[id(features[tap])] for tap in guides] for guides in self._guides_of]
        guides = list(distinct.values())
        if mask is not None and self.rows == "positions":
            return self._by_position(targets, guides, meets, mask)
        kind = self._task.input.kind
        rows = [to_rows(target, self.rows, kind, mask) for target in targets]
        return self._of_rows(rows, [to_rows(o, self.rows, kind, mask) for o in guides], meets)

    def _of_rows(
        self, targets: Sequence[Tensor], guides: Sequence[Tensor], meets: Sequence[Sequence[int]]
    ) -> Tensor:
        """The distance of every pair of features (n, p) and (n, q)."""
        if not self.learned:
            return self._distance.all(targets, guides, meets)
        met = [(targets[i], guides[j]) for i, own in enumerate(meets) for j in own]
        return torch.stack([d(*pair) for d, pair in zip(self.learned, met, strict=True)])

    def _by_position(
        self,
        targets: Sequence[Tensor],
        guides: Sequence[Tensor],
        meets: Sequence[Sequence[int]],
        mask: Tensor,
    ) -> Tensor:
        """The mean over positions, each over the examples that have it, if those are enough."""
        enough = mask.sum(0) >= self._distance.min_rows
        each = [
            self._of_rows(
                [target[mask[:, t], t] for target in targets],
                [guide[mask[:, t], t] for guide in guides],
                meets,
            )
            for t in enough.nonzero()[:, 0].tolist()
        ]
        if not each:
            raise ValueError(
                f"distances: rows: positions: no position has the {self._distance.min_rows} "
                "examples that the distance needs; use larger batches or rows: tokens"
            )
        return torch.stack(each).mean(0)
