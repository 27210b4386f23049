"""Mappings: pairs of target taps and guide taps whose distances guide.

A mapping is called as `mapping(target_taps, guide_taps, similarity, **options)`, taps in depth
order, and returns the pairs whose distances are summed. `similarity()` is a tensor (guide taps,
target taps) of similarities before training; only mappings that call it pay for it. The number of
pairs must not depend on it, because plans state that number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

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
        """Name of the metric of the pair's distance."""
        return f"distance/{self.target}/{self.guide}"


Similarity = Callable[[], Tensor]
MAPPINGS: Registry[Callable[..., list[Pair]]] = Registry(
    "mapping", __name__, default="evenly_spaced"
)
register = MAPPINGS.register


def pairs_of(
    mapping: Component,
    distance: Component,
    target_taps: Sequence[str],
    guide_taps: Sequence[str],
    similarity: Similarity | None = None,
) -> list[Pair]:
    """The pairs of two networks' taps whose distances are summed.

    Without `similarity` (before there are networks) the number of pairs is right, but the pairs may
    be others. Raises UserError if the mapping does not fit these taps, or gives no pairs of them.
    """
    fixed = taps_of(distance)
    if fixed is not None:
        return [Pair(tap, tap) for tap in fixed]
    if similarity is None:
        unknown = torch.zeros(len(guide_taps), len(target_taps))
        similarity = lambda: unknown  # noqa: E731
    return _checked(
        f"mapping {mapping.name!r}", MAPPINGS.make(mapping, target_taps, guide_taps, similarity),
        target_taps, guide_taps,
    )  # fmt: skip


def _checked(
    what: str, pairs: Any, target_taps: Sequence[str], guide_taps: Sequence[str]
) -> list[Pair]:
    """Pairs that a mapping gave, each of known taps and once; raises UserError for all else."""
    is_list = isinstance(pairs, list | tuple) and all(isinstance(each, Pair) for each in pairs)
    if not is_list or not pairs:
        raise UserError(f"{what} gives {pairs!r:.80}; give a list of Pair(target tap, guide tap)")
    seen = set[tuple[str, str]]()
    for pair in pairs:
        for side, tap, taps in (
            ("target", pair.target, target_taps), ("guide", pair.guide, guide_taps)
        ):  # fmt: skip
            if tap not in taps:
                raise UnknownNameError(f"{side} tap of {what}:", tap, taps)
        if (pair.target, pair.guide) in seen:
            raise UserError(
                f"{what} gives the pair of {pair.target!r} and {pair.guide!r} twice; give it once, "
                "with weight=2"
            )
        seen.add((pair.target, pair.guide))
    return [*pairs]


def taps_of(distance: Component) -> tuple[str, ...] | None:
    """The taps that a distance compares in any network; None if it compares `Network.taps`."""
    return (LOGITS,) if distances.of_logits(distance.name) else None


@register("evenly_spaced")
def evenly_spaced(
    target_taps: Sequence[str], guide_taps: Sequence[str], _similarity: Similarity
) -> list[Pair]:
    """Map guide tap i of G to target tap round(i (T - 1) / (G - 1)) of T: the paper's rule.

    Each guide tap has one pair, even if several map to one target tap (in the paper's code only the
    last of these counts). A single guide tap maps to the last target tap (there: the first).
    """
    last_target, last_guide = len(target_taps) - 1, len(guide_taps) - 1
    if last_guide == 0:
        return [Pair(target_taps[-1], guide_taps[0])]
    return [
        Pair(target_taps[round(index * last_target / last_guide)], tap)
        for index, tap in enumerate(guide_taps)
    ]


@register("reversed")
def reversed_depth(
    target_taps: Sequence[str], guide_taps: Sequence[str], similarity: Similarity
) -> list[Pair]:
    """Map guide tap i of G to the target tap of guide tap G - 1 - i under `evenly_spaced`."""
    return reverse(evenly_spaced(target_taps, guide_taps, similarity), guide_taps)


def reverse(mapped: Sequence[Pair], guide_taps: Sequence[str]) -> list[Pair]:
    """Pairs of guide tap i of G with the target taps, and weights, of guide tap G - 1 - i."""
    opposite = dict(zip(guide_taps, guide_taps[::-1], strict=True))
    found = [Pair(pair.target, opposite[pair.guide], pair.weight) for pair in mapped]
    return sorted(found, key=lambda pair: guide_taps.index(pair.guide))


@register("random")
def random_order(
    target_taps: Sequence[str],
    guide_taps: Sequence[str],
    similarity: Similarity,
    *,
    draw: int = 0,
) -> list[Pair]:
    """Map guide taps to the target taps of `evenly_spaced`, permuted at random.

    Only the order differs from `evenly_spaced`: each target tap takes part as often. `draw` is the
    seed of the permutation, which all replicates share; with few taps it may leave all in place.
    """
    if draw < 0:
        raise UserError(f"mapping random: draw is {draw}; allowed: 0 or more")
    even = evenly_spaced(target_taps, guide_taps, similarity)
    order = torch.randperm(len(even), generator=torch.Generator().manual_seed(draw)).tolist()
    return [Pair(even[place].target, pair.guide) for place, pair in zip(order, even, strict=True)]


@register("one_to_one")
def one_to_one(
    target_taps: Sequence[str], guide_taps: Sequence[str], _similarity: Similarity
) -> list[Pair]:
    """Map taps of the same name to each other; taps of other names are left out.

    Raises UserError if no name is shared.
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
    """Map the last `k` taps of both to each other, from the end; UserError if there are fewer."""
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
    """Map every guide tap to every target tap; the weights of a guide tap's pairs sum to 1.

    Weights are proportional to exp(-`sharpness` |difference|) of relative depths (0 first tap, 1
    last): with sharpness 0 all are equal.
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
    """Map each guide tap to the target tap that is most similar to it before training.

    The similarity is unbiased linear CKA between the guide and the target's initial weights, on
    validation examples; the earlier of equally similar taps is taken.
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
    """Map taps as `pairs` says: guide tap to target tap, or to a list of target taps.

    Raises UserError for taps that do not exist, with the nearest that does.
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
