"""Mappings: which guide tap is matched to which target tap.

A mapping is called as `mapping(target_taps, guide_taps, similarity, **options)`, taps in depth
order, and returns the pairs whose distances are summed. `similarity()` gives how similar guide taps
and target taps are before training, `(guide taps, target taps)`; only mappings that ask pay for it.
How many pairs there are must not depend on it, because a plan tells their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from trainers import distances
from trainers.architectures import LOGITS
from trainers.errors import UserError
from trainers.registry import Component, Registry, UnknownNameError


@dataclass(frozen=True)
class Pair:
    """A target tap and the guide tap it is aligned with; `weight` multiplies their distance."""

    target: str
    guide: str
    weight: float = 1.0

    @property
    def metric(self) -> str:
        """The metric under which the pair's distance is reported."""
        return f"distance/{self.target}/{self.guide}"


Similarity = Callable[[], Tensor]
MAPPINGS: Registry[Callable[..., list[Pair]]] = Registry("mapping", __name__)
register = MAPPINGS.register


def pairs_of(
    mapping: Component,
    distance: Component,
    target_taps: Sequence[str],
    guide_taps: Sequence[str],
    similarity: Similarity | None = None,
) -> list[Pair]:
    """The pairs of two networks' taps whose distances are summed.

    Without `similarity`, where no network is there yet: as many pairs, which may be others. Raises
    UserError where the mapping does not fit these taps.
    """
    fixed = taps_of(distance)
    if fixed is not None:
        return [Pair(tap, tap) for tap in fixed]
    if similarity is None:
        unknown = torch.zeros(len(guide_taps), len(target_taps))
        similarity = lambda: unknown  # noqa: E731
    pairs: list[Pair] = MAPPINGS.make(mapping, target_taps, guide_taps, similarity)
    return pairs


def taps_of(distance: Component) -> tuple[str, ...] | None:
    """Taps that a distance compares in any network; None where it compares the network's own."""
    return (LOGITS,) if distances.of_logits(distance.name) else None


@register("evenly_spaced")
def evenly_spaced(
    target_taps: Sequence[str], guide_taps: Sequence[str], _similarity: Similarity
) -> list[Pair]:
    """Guide tap i of G meets target tap round(i (T - 1) / (G - 1)) of T: the paper's rule.

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


@register("one_to_one")
def one_to_one(
    target_taps: Sequence[str], guide_taps: Sequence[str], _similarity: Similarity
) -> list[Pair]:
    """Taps of the same name meet; those without a namesake take no part.

    Raises ValueError when no name is shared.
    """
    shared = [Pair(tap, tap) for tap in guide_taps if tap in set(target_taps)]
    if not shared:
        raise UserError(
            f"mapping one_to_one: no tap of the guide ({', '.join(guide_taps)}) has the name of a "
            f"tap of the target ({', '.join(target_taps)}); use another mapping, e.g. explicit"
        )
    return shared


@register("last")
def last(
    target_taps: Sequence[str], guide_taps: Sequence[str], _similarity: Similarity, *, k: int = 1
) -> list[Pair]:
    """The last `k` taps of both, paired from the end."""
    fewest = min(len(target_taps), len(guide_taps))
    if not 1 <= k <= fewest:
        raise UserError(
            f"mapping last: k is {k}; allowed here: 1 to {fewest} (the guide has "
            f"{len(guide_taps)} taps, the target {len(target_taps)})"
        )
    return [Pair(*taps) for taps in zip(target_taps[-k:], guide_taps[-k:], strict=True)]


@register("all_pairs")
def all_pairs(
    target_taps: Sequence[str],
    guide_taps: Sequence[str],
    _similarity: Similarity,
    *,
    sharpness: float = 0.0,
) -> list[Pair]:
    """Every guide tap meets every target tap; the weights of a guide tap's pairs add up to 1.

    They fall with the difference of relative depths (0 first tap, 1 last), as exp(-`sharpness`
    |difference|): 0 weighs all alike.
    """
    if sharpness < 0:
        raise UserError(f"mapping all_pairs: sharpness is {sharpness}; allowed: 0 or more")

    def depth(index: int, taps: Sequence[str]) -> float:
        return 1.0 if len(taps) == 1 else index / (len(taps) - 1)

    raw = {
        (t, g): math.exp(-sharpness * abs(depth(t, target_taps) - depth(g, guide_taps)))
        for g, t in product(range(len(guide_taps)), range(len(target_taps)))
    }
    totals = [sum(raw[t, g] for t in range(len(target_taps))) for g in range(len(guide_taps))]
    return [Pair(target_taps[t], guide_taps[g], raw[t, g] / totals[g]) for t, g in raw]


# Version 2: the examples are compared in equal parts, so another tap may turn out nearest.
@register("nearest", version=2)
def nearest(
    target_taps: Sequence[str], guide_taps: Sequence[str], similarity: Similarity
) -> list[Pair]:
    """Each guide tap meets the target tap that is most similar to it before training.

    The similarity is unbiased linear CKA between the guide and the target's initial weights, on
    validation examples; of equals the earlier tap.
    """
    chosen = similarity().nan_to_num(-math.inf).argmax(1).tolist()
    return [Pair(target_taps[t], tap) for t, tap in zip(chosen, guide_taps, strict=True)]


@register("explicit")
def explicit(
    target_taps: Sequence[str],
    guide_taps: Sequence[str],
    _similarity: Similarity,
    *,
    pairs: Mapping[str, str | list[str]] | None = None,
) -> list[Pair]:
    """`pairs` as given: guide tap to target tap, or to a list of them.

    Raises ValueError for taps that do not exist, with the nearest that does.
    """
    if not pairs:
        raise UserError(f"mapping explicit: pairs is {pairs}; give guide tap: target tap, ...")
    found = []
    for guide, targets in dict(pairs).items():
        if guide not in guide_taps:
            raise UnknownNameError("guide tap in mapping explicit:", guide, guide_taps)
        for target in (targets,) if isinstance(targets, str) else targets:
            if target not in target_taps:
                raise UnknownNameError("target tap in mapping explicit:", target, target_taps)
            found.append(Pair(target, guide))
    return found
