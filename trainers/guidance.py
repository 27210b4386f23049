"""Guidance: the alignment term that a frozen guide adds to the task loss.

    loss = task loss + alpha * sum over mapped pairs of distance(target tap, guide tap)

(Subramaniam et al., "Training the Untrainable", arXiv 2410.20035.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from trainers import distances
from trainers.batches import Batch
from trainers.condition import Guidance
from trainers.guides import FeatureSource
from trainers.taps import to_rows


@dataclass(frozen=True)
class Pair:
    """A target tap and the guide tap it is aligned with."""

    target: str
    guide: str

    @property
    def metric(self) -> str:
        """The metric under which the pair's distance is reported."""
        return f"distance/{self.target}/{self.guide}"


def evenly_spaced(target_taps: Sequence[str], guide_taps: Sequence[str]) -> list[Pair]:
    """The paper's mapping: guide tap i of G meets target tap round(i (T - 1) / (G - 1)) of T.

    One pair a guide tap: where several guide taps meet one target tap, each counts (in the paper's
    code only the last does). One guide tap alone meets the last target tap (there: the first).
    """
    last_target, last_guide = len(target_taps) - 1, len(guide_taps) - 1
    if last_guide == 0:
        return [Pair(target_taps[-1], guide_taps[0])]
    return [
        Pair(target_taps[round(index * last_target / last_guide)], tap)
        for index, tap in enumerate(guide_taps)
    ]


class GuidedLoss:
    """The alignment term of one replicate."""

    def __init__(
        self, guidance: Guidance, source: FeatureSource, target_taps: Sequence[str]
    ) -> None:
        self.source = source
        self.rows = guidance.rows
        self.schedule = guidance.schedule
        self.pairs = evenly_spaced(target_taps, source.taps)
        self.target_taps = tuple(dict.fromkeys(pair.target for pair in self.pairs))
        self._distance = distances.build(guidance.distance)
        self._scale = 1.0 if guidance.reduction == "sum" else 1.0 / len(self.pairs)
        by_target = {tap: [p for p in self.pairs if p.target == tap] for tap in self.target_taps}
        self._guides_of = {tap: [p.guide for p in pairs] for tap, pairs in by_target.items()}
        #: Pairs in the order of the distances that a call returns.
        self.ordered_pairs = [pair for pairs in by_target.values() for pair in pairs]

    def active(self, step: int) -> bool:
        """Whether guidance is on in the step that follows `step` finished steps."""
        return self.schedule.stop_step is None or step < self.schedule.stop_step

    def __call__(
        self, outputs: Mapping[str, Tensor], batch: Batch, step: int
    ) -> tuple[Tensor, Tensor]:
        """The reduced distance (a scalar with gradient) and each pair's (num_pairs,), detached.

        `outputs` are the target's tap outputs (batch, ...) for the batch.
        """
        features = self.source.features(batch, step)
        # Taps may show the same tensor (control `input`): it is prepared once.
        distinct = {id(output): output for output in features.values()}
        position = {key: index for index, key in enumerate(distinct)}
        each = self._distance.all(
            [to_rows(outputs[tap], self.rows) for tap in self._guides_of],
            [to_rows(output, self.rows) for output in distinct.values()],
            [
                [position[id(features[guide])] for guide in guides]
                for guides in self._guides_of.values()
            ],
        )
        return each.sum() * self._scale, each.detach()
