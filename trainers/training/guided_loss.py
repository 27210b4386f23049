"""Guidance: the alignment loss that frozen guides add to the task loss.

    loss = task loss + alpha * sum over mapped pairs of distance(target tap, guide tap)

(Subramaniam et al., "Training the Untrainable", arXiv 2410.20035.) With several guides the sum is
over their terms too, each with its weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import reduce
from itertools import chain
from operator import add
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainers.distances import shared_sides
from trainers.mappings import Pair
from trainers.tasks.batches import Batch
from trainers.training.term_loss import TermLoss


class Distances(NamedTuple):
    """Distances of a batch: their weighted sum, with gradient; of each term and pair, detached."""

    total: Tensor
    by_term: tuple[Tensor, ...]
    by_pair: Tensor

    def losses(self) -> dict[str, Tensor]:
        """The losses that a step reports, detached; those of each term if there are several."""
        several = len(self.by_term) > 1
        terms = {f"train/distance_{i}": d for i, d in enumerate(self.by_term, 1) if several}
        return {"train/distance": self.total.detach(), **terms, "distances": self.by_pair}


class GuidedLoss:
    """The weighted sum of the `terms` of one replicate's guidance.

    Terms whose distance learns are connected before.
    """

    def __init__(self, terms: Sequence[TermLoss]) -> None:
        self.terms = tuple(terms)
        #: The target's taps that guidance needs.
        self.target_taps = tuple(dict.fromkeys(chain(*(term.target_taps for term in terms))))
        #: Connected distances of all terms by pair; empty unless a distance learns.
        self.learned = nn.ModuleList(chain(*(term.learned for term in terms)))

    @property
    def pairs(self) -> list[Pair]:
        """Pairs in the order of their distances; guide taps have `named` names."""
        return [
            replace(pair, guide=self.named(index, pair.guide))
            for index, term in enumerate(self.terms)
            for pair in term.pairs
        ]

    def named(self, index: int, guide_tap: str) -> str:
        """The name of a guide's tap: with the guide's number, from 1, if there are several."""
        return guide_tap if len(self.terms) == 1 else f"{index + 1}:{guide_tap}"

    def __call__(self, outputs: Mapping[str, Tensor], batch: Batch, step: int) -> Distances:
        """The distances of a batch, from the target's tap outputs (batch, ...); see `TermLoss`.

        What terms need of the target alone is made once for all of them.
        """
        with shared_sides() if len(self.terms) > 1 else nullcontext():
            each = [term(outputs, batch, step) for term in self.terms]
        totals, by_pair = zip(*each, strict=True)
        weighted = [
            total if term.weight == 1 else term.weight * total
            for term, total in zip(self.terms, totals, strict=True)
        ]
        return Distances(
            total=reduce(add, weighted),
            by_term=tuple(total.detach() for total in totals),
            by_pair=by_pair[0] if len(by_pair) == 1 else torch.cat(by_pair),
        )
